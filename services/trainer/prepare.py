"""Rows -> packed rows, as a process of its own: `python -m services.trainer.prepare <folder>`.

transformers' tokenizers pull torch in, and a chat template runs at the speed of Python: neither belongs into the
process that answers calls. The folder holds `task.json`, the datasets' rows as JSONL and the tokenizer; it gets `packed.safetensors` and `summary.json`, or
`error.json` where the rows are wrong.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servicekit.errors import Invalid
from services.trainer.config import DataSummary
from services.trainer.packing import Packed, TokenSequence, nearest_steps, pack, repeat
from services.trainer.rows import RowReader

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


MOST_STEPS = 10_000_000  # as many as max_steps may say


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


def prepare(folder: Path, task: PrepareTask) -> tuple[Packed, DataSummary]:
    """Invalid where a row cannot be trained on, or where there is none."""
    tokenizer = load_tokenizer(folder / task.tokenizer)
    sequences: list[TokenSequence] = []
    for number, (name, weight, file) in enumerate(task.datasets):
        reader = RowReader(
            tokenizer,
            dataset=name,
            splitting=task.splitting,
            train_on_prompt=task.train_on_prompt,
            max_length=task.max_length,
        )
        found = list(reader.read(read_jsonl(folder / file)))
        if not found:
            raise Invalid(
                "EMPTY_DATASET",
                f"{name} has no rows; there is nothing to learn.",
                field=f"datasets[{number}]",
            )
        sequences += repeat(found, weight, task.seed + number)
    if not sequences:
        raise Invalid("EMPTY_DATASET", "The datasets' weights leave no row to learn.", field="datasets")
    packed = pack(sequences, task.max_length, task.seed, tokenizer.pad_token_id or 0)
    summary = summarize(sequences, packed)
    if task.max_tokens:
        steps = nearest_steps(task.max_tokens, packed.token_count_R, task.rows_per_step, task.seed)
        if steps > MOST_STEPS:
            raise Invalid(
                "TOO_MANY_STEPS",
                f"{task.max_tokens} tokens of this data take {steps} steps, more than {MOST_STEPS}; lower max_tokens.",
                field="training.max_tokens",
                step_count=steps,
            )
        summary = dataclasses.replace(summary, nearest_steps=steps)
    return packed, summary


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


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def main(folder: Path) -> None:
    from safetensors.numpy import save_file

    task = json.loads((folder / "task.json").read_text())
    task["datasets"] = tuple(tuple(dataset) for dataset in task["datasets"])
    try:
        packed, summary = prepare(folder, PrepareTask(**task))
    except Invalid as error:
        wrong = {
            "reason": error.reason,
            "message": error.message,
            "field": error.field,
            "metadata": error.metadata,
        }
        (folder / "error.json").write_text(json.dumps(wrong))
        return
    save_file(vars(packed), folder / "packed.safetensors")
    (folder / "summary.json").write_text(json.dumps(dataclasses.asdict(summary)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
