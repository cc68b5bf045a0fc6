"""Rows -> packed rows, as a process of its own: `python -m services.trainer.prepare <folder>`.

transformers' tokenizers pull torch in, and a chat template runs at the speed of Python: neither belongs into the
process that answers calls. The folder holds `task.json`, the datasets' rows as JSONL and the tokenizer; it gets `packed.safetensors` and `summary.json`, or
`error.json` where the rows are wrong.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from servicekit.errors import Invalid
from services.trainer.config import DataSummary
from services.trainer.mixing import held_out, replayed
from services.trainer.packing import (
    Packed,
    TokenSequence,
    nearest_steps,
    number_in_sequence,
    pack,
    pack_placed,
    repeat,
)
from services.trainer.probing import packed_probes
from services.trainer.rows import LostRows, RowReader
from services.trainer.teaching import Classroom

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


MOST_STEPS = 10_000_000  # as many as max_steps may say
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class PrepareTask:
    """What is to be prepared; paths are relative to the folder."""

    datasets: tuple[tuple[str, float, str], ...]  # name, weight, file
    tokenizer: str
    splitting: str
    train_on_prompt: bool
    max_length: int
    seed: int
    max_tokens: int = 0  # 0: not what the steps follow from
    rows_per_step: int = 1
    long_rows: str = "refuse"
    max_lost_row_ratio: float = 1.0
    context_window: int = 0  # 0: not known
    replay: tuple[str, float, str] | None = None  # name, its share of all tokens, file
    held_out: tuple[tuple[str, str], ...] = ()  # name, file
    eval_ratio: float = 0.0
    probes: tuple[str, str] | None = None
    documents: str = ""  # file of what the teacher of a distillation reads

    @staticmethod
    def from_json(values: dict[str, Any]) -> "PrepareTask":
        """What `dataclasses.asdict` gave, after a way through JSON."""
        return PrepareTask(**{name: tuples(value) for name, value in values.items()})


def tuples(value: Any) -> Any:
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def prepare(folder: Path, task: PrepareTask) -> tuple[Arrays, DataSummary]:
    """The arrays of `packed.safetensors`; Invalid where a row cannot be trained on, or where there is none."""
    return Preparation(folder, task).run()


class Preparation:
    """One task: what is read is counted in `lost`."""

    def __init__(self, folder: Path, task: PrepareTask) -> None:
        self.folder = folder
        self.task = task
        self.tokenizer = load_tokenizer(folder / task.tokenizer)
        self.lost = LostRows()
        self.classroom = self.opened_classroom() if task.documents else None

    def run(self) -> tuple[Arrays, DataSummary]:
        task = self.task
        sequences, kept_out = self.training_sequences()
        for number, (name, file) in enumerate(task.held_out):
            kept_out += self.read(name, file, f"training.evaluation.datasets[{number}]")
        sequences, replay_tokens = self.with_replay(sequences)
        self.lost.refuse_over(task.max_lost_row_ratio, task.max_length)
        padding_id = self.tokenizer.pad_token_id or 0
        packed, sequence_RL = pack_placed(sequences, task.max_length, task.seed, padding_id)
        arrays: Arrays = dict(vars(packed))
        if kept_out:
            arrays |= prefixed("held_out.", vars(pack(kept_out, task.max_length, task.seed, padding_id)))
        probe_count = 0
        if task.probes:
            name, file = task.probes
            rows = read_jsonl(self.folder / file)
            probes, probe_count = packed_probes(
                self.tokenizer, name, rows, task.max_length, task.context_window
            )
            arrays |= prefixed("probes.", probes)
        if self.classroom:
            self.classroom.refuse_over(task.context_window)
            first_S = np.array([sequence.first_target for sequence in sequences], np.int64)
            target_RL = number_in_sequence(sequence_RL, packed.labels_RL, first_S)
            arrays |= prefixed("teacher.", {**self.classroom.arrays(), "target_RL": target_RL})
        summary = dataclasses.replace(
            summarize(sequences, packed),
            nearest_steps=self.steps(packed),
            truncated_row_count=self.lost.count("truncated"),
            dropped_row_count=self.lost.count("dropped"),
            masked_row_count=self.lost.count("masked"),
            replay_token_count=replay_tokens,
            held_out_row_count=len(kept_out),
            probe_count=probe_count,
        )
        return arrays, summary

    def training_sequences(self) -> tuple[list[TokenSequence], list[TokenSequence]]:
        """By weight what is trained on, and once what is held out of it."""
        task = self.task
        away = set()
        if task.eval_ratio:
            rows = (read_jsonl(self.folder / file) for _, _, file in task.datasets)
            away = held_out(rows, task.eval_ratio, task.seed)
        sequences: list[TokenSequence] = []
        kept_out: list[TokenSequence] = []
        for number, (name, weight, file) in enumerate(task.datasets):
            found = self.read(name, file, f"datasets[{number}]")
            kept_out += [sequence for sequence in found if (number, sequence.row) in away]
            found = [sequence for sequence in found if (number, sequence.row) not in away]
            repeated = repeat(found, weight, task.seed + number)
            if self.classroom:
                by_number = dict(enumerate(read_jsonl(self.folder / file)))
                take = functools.partial(self.classroom.take, self.reader(name).renderer, by_number)
                repeated = once_each(repeated, take)
            sequences += repeated
        if not sequences:
            raise Invalid("EMPTY_DATASET", "The datasets' weights leave no row to learn.", field="datasets")
        if away and not kept_out:
            raise Invalid(
                "NOTHING_TO_HOLD_OUT",
                "Of the rows that eval_ratio holds out none can be learned; raise it, or name evaluation.datasets.",
                field="training.evaluation.eval_ratio",
            )
        return sequences, kept_out

    def with_replay(self, sequences: list[TokenSequence]) -> tuple[list[TokenSequence], int]:
        """And the number of tokens that are replayed."""
        if not self.task.replay:
            return sequences, 0
        name, ratio, file = self.task.replay
        found = self.read(name, file, "training.replay.dataset")
        chosen = replayed(found, token_count(sequences), ratio, self.task.seed)
        if self.classroom:
            chosen = once_each(chosen, functools.partial(self.classroom.take_alone, name))
        return sequences + chosen, token_count(chosen)

    def read(self, name: str, file: str, field: str) -> list[TokenSequence]:
        """All rows of a dataset that are learned; Invalid where there is none."""
        found = list(self.reader(name).read(read_jsonl(self.folder / file)))
        if not found:
            # Where all rows were lost, saying so helps more than saying that none is left.
            self.lost.refuse_over(self.task.max_lost_row_ratio, self.task.max_length)
            raise Invalid("EMPTY_DATASET", f"{name} has no rows; there is nothing to learn.", field=field)
        return found

    def reader(self, name: str) -> RowReader:
        task = self.task
        return RowReader(
            self.tokenizer,
            dataset=name,
            splitting=task.splitting,
            train_on_prompt=task.train_on_prompt,
            max_length=task.max_length,
            long_rows=task.long_rows,
            lost=self.lost,
        )

    def opened_classroom(self) -> Classroom:
        """With all documents, joined as inference joins a context's."""
        if self.task.train_on_prompt:
            raise Invalid(
                "DISTILLATION_OF_PROMPTS",
                "Context distillation learns answers; leave train_on_prompt out.",
                field="training.train_on_prompt",
            )
        texts = [str(row.get("text") or "") for row in read_jsonl(self.folder / self.task.documents)]
        if not texts or not all(texts):
            raise Invalid(
                "NOT_DOCUMENTS",
                "The dataset of distillation holds no documents, or rows without a text.",
                field="training.distillation.dataset",
            )
        return Classroom(self.tokenizer, "\n".join(texts))

    def steps(self, packed: Packed) -> int:
        """Those that train nearest to the tokens asked for; 0 where none are asked for."""
        task = self.task
        if not task.max_tokens:
            return 0
        steps = nearest_steps(task.max_tokens, packed.token_count_R, task.rows_per_step, task.seed)
        if steps > MOST_STEPS:
            raise Invalid(
                "TOO_MANY_STEPS",
                f"{task.max_tokens} tokens of this data take {steps} steps, more than {MOST_STEPS}; lower max_tokens.",
                field="training.max_tokens",
                step_count=steps,
            )
        return steps


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """What AutoTokenizer gives, and inference reads with; the generic class comes without importing torch, in a quarter
    of the time."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) if path.is_file() else {}
    if config.get("tokenizer_class") in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        from transformers import PreTrainedTokenizerFast as Tokenizer
    else:
        from transformers import AutoTokenizer as Tokenizer
    return Tokenizer.from_pretrained(folder, local_files_only=True)


def summarize(sequences: list[TokenSequence], packed: Packed) -> DataSummary:
    tokens = int(packed.token_count_R.sum())
    return DataSummary(
        row_count=len(sequences),
        packed_row_count=len(packed.token_count_R),
        token_count=tokens,
        padding_ratio=1 - tokens / packed.input_ids_RL.size,
        mean_row_tokens=tokens / len(sequences),
    )


def once_each(
    sequences: Sequence[TokenSequence], take: Callable[[list[TokenSequence]], list[TokenSequence]]
) -> list[TokenSequence]:
    """What `take` makes of the sequences, of which some are there several times."""
    different = {id(sequence): sequence for sequence in sequences}
    taken = dict(zip(different, take(list(different.values())), strict=True))
    return [taken[id(sequence)] for sequence in sequences]


def token_count(sequences: Sequence[TokenSequence]) -> int:
    return sum(len(sequence.tokens) for sequence in sequences)


def prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {prefix + name: array for name, array in arrays.items()}


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def main(folder: Path) -> None:
    from safetensors.numpy import save_file

    task = PrepareTask.from_json(json.loads((folder / "task.json").read_text()))
    try:
        arrays, summary = prepare(folder, task)
    except Invalid as error:
        wrong = {
            "reason": error.reason,
            "message": error.message,
            "field": error.field,
            "metadata": error.metadata,
        }
        (folder / "error.json").write_text(json.dumps(wrong))
        return
    save_file(arrays, folder / "packed.safetensors")
    (folder / "summary.json").write_text(json.dumps(dataclasses.asdict(summary)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
