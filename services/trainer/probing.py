"""Probes with choices -> token sequences, one a choice, of which only the choice is learned (legend: C choices of all probes).

They are read as inference scores them: a plain model goes on after the prompt and one space, unless there is white space already; a
model with a chat template answers the prompt as a user's message. Both are tokenised as one text, and the choice begins with the first
token that reaches over the prompt's end.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from servicekit.errors import Invalid
from services.trainer.encoding import encode
from services.trainer.packing import IGNORED, TokenSequence, pack_placed
from services.trainer.rendering import Piece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_PROBES = 256


def packed_probes(
    tokenizer: "PreTrainedTokenizerBase",
    dataset: str,
    rows: Iterable[dict[str, Any]],
    max_length: int,
    context_window: int,
) -> tuple[dict[str, np.ndarray], int]:
    """The arrays that data.py describes, without their prefix, and the number of probes. Rows are `max_length` long, or as long as
    the longest choice with its prompt."""
    sequences: list[TokenSequence] = []
    probes: list[int] = []
    right: list[bool] = []
    batch: list[Piece] = []
    count = 0
    for number, row in enumerate(rows):
        choices, answers = choices_of(dataset, number, row)
        batch += [piece_of(tokenizer, row["prompt"], choice) for choice in choices]
        probes += [number] * len(choices)
        right += [choice in answers for choice in choices]
        count = number + 1
        if len(batch) >= BATCH_PROBES:
            sequences += encode(tokenizer, [[piece] for piece in batch])
            batch = []
    sequences += encode(tokenizer, [[piece] for piece in batch])
    if not sequences:
        raise Invalid("EMPTY_DATASET", f"{dataset} has no probes.", field="training.evaluation.probes")
    longest = max(range(len(sequences)), key=lambda c: len(sequences[c].tokens))
    length = len(sequences[longest].tokens)
    if context_window and length > context_window:
        raise Invalid(
            "PROBE_TOO_LONG",
            f"Row {probes[longest]} of {dataset} has {length} tokens with one of its choices, more than the model's window of "
            f"{context_window}; shorten it or leave it out.",
            field="training.evaluation.probes",
            row=probes[longest],
            token_count=length,
        )
    packed, choice_RL = pack_placed(sequences, max(max_length, length), 0, tokenizer.pad_token_id or 0)
    arrays = {
        **vars(packed),
        "choice_RL": np.where(packed.labels_RL != IGNORED, choice_RL, -1).astype(np.int32),
        "probe_C": np.array(probes, np.int32),
        "right_C": np.array(right, np.int32),
    }
    return arrays, count


def choices_of(dataset: str, number: int, row: dict[str, Any]) -> tuple[list[str], list[str]]:
    if not row.get("choices"):
        raise Invalid(
            "PROBE_WITHOUT_CHOICES",
            f"Row {number} of {dataset} is no probe with choices, so no share right can be measured; leave it out.",
            field="training.evaluation.probes",
            row=number,
        )
    answer = row["answer"]
    return row["choices"], answer if isinstance(answer, list) else [answer]


def piece_of(tokenizer: "PreTrainedTokenizerBase", prompt: str, choice: str) -> Piece:
    chat = bool(tokenizer.chat_template)
    text = prompt
    if chat:
        asked = [{"role": "user", "content": prompt}]
        text = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
    glued = chat or text[-1:].isspace() or choice[:1].isspace()
    whole = text + ("" if glued else " ") + choice
    return Piece(whole, ((len(text), len(whole)),), marks=not chat)
