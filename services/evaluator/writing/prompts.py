"""The prompts by which probes are written, one file per style and kind; kept apart from the augmenter's."""

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "prompts"
# Where a style has no file for a kind, the kind needs no model to be written.
KINDS = {
    "cloze": ("verbatim", "paraphrase", "reversal", "two_step", "cross_document"),
    "question": (
        *("verbatim", "paraphrase", "reversal", "two_step"),
        *("cross_document", "list", "unanswerable"),
    ),
}
VERSION = 1


@cache
def template(style: str, kind: str) -> str:
    """Empty where the documents' own sentences are asked for."""
    path = FOLDER / style / f"{kind}.txt"
    return path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else ""


@cache
def version(style: str) -> str:
    """`cloze/1-<digest of all its prompts>`."""
    content = "\n".join(template(style, kind) for kind in KINDS[style])
    return f"{style}/{VERSION}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def filled(style: str, kind: str, document: str, documents: str) -> str:
    """`document`: the one that is asked about; `documents`: it and those that are read with it."""
    text = template(style, kind)
    # In one pass, so that braces in a document stay what they are.
    head, place, tail = text.partition("{documents}")
    if place:
        return head + documents + tail.replace("{document}", document)
    return text.replace("{document}", document)
