"""Texts -> tokens with labels, many at once: a tokenizer is many times faster with a list than text by text."""

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.trainer.packing import IGNORED, TokenSequence
from services.trainer.rendering import Draft, Piece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Labelled = tuple[list[int], list[int]]  # tokens and labels


def encode(tokenizer: "PreTrainedTokenizerBase", drafts: Sequence[Draft]) -> list[TokenSequence]:
    """In order. A token that reaches into what is learned is learned, as inference counts it to the answer."""
    pieces = [piece for draft in drafts for piece in draft]
    encoded: list[Labelled] = [([], [])] * len(pieces)
    for marks in (True, False):
        for whole in (True, False):
            chosen = [
                n
                for n, piece in enumerate(pieces)
                if piece.marks == marks and (piece.learned is None) == whole
            ]
            if not chosen:
                continue
            found = tokenizer(
                [pieces[n].text for n in chosen],
                add_special_tokens=marks,
                return_attention_mask=False,
                return_token_type_ids=False,
                return_offsets_mapping=not whole,
            )
            offsets = [None] * len(chosen) if whole else found["offset_mapping"]
            for n, ids, places in zip(chosen, found["input_ids"], offsets, strict=True):
                encoded[n] = labelled(pieces[n], ids, places, tokenizer.eos_token_id)
    remaining = iter(encoded)
    return [joined([next(remaining) for _ in draft]) for draft in drafts]


def labelled(piece: Piece, ids: list[int], offsets: Any, eos: int | None) -> Labelled:
    if offsets is None:
        labels = ids
    else:
        labels = [IGNORED] * len(ids)
        for start, end in piece.learned or ():
            for i in [i for i, (at, stop) in enumerate(offsets) if stop > start and at < end]:
                labels[i] = ids[i]
    # Some tokenizers close every text.
    if piece.marks and eos is not None and len(ids) > 1 and ids[-1] == eos:
        ids, labels = ids[:-1], labels[:-1]
    if piece.closed and eos is not None:
        return [*ids, eos], [*labels, eos]
    return ids, labels


def joined(parts: list[Labelled]) -> TokenSequence:
    """In arrays of 4 bytes a number: lists take nine times as much."""
    tokens, labels = array("i"), array("i")
    for ids, learned in parts:
        tokens.extend(ids)
        labels.extend(learned)
    return TokenSequence(tokens, tokens if tokens == labels else labels)
