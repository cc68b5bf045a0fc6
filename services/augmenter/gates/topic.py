"""Whether a statement is about what its documents are about. No model: subjects are counted words, see `entities.py`."""

import re
from collections.abc import Iterable

from services.augmenter.strategies.base import Document

_WORD = re.compile(r"\w+")


def off_topic(statement: str, documents: Iterable[Document]) -> bool:
    """Whether it names no subject of the documents; where they have none, nothing is off their topic."""
    subjects = {_folded(subject) for document in documents for subject in document.subjects}
    said = _folded(statement)
    return bool(subjects) and not any(subject in said for subject in subjects)


def _folded(text: str) -> str:
    """Words with a space at both ends, without case and the `s` of a plural or a genitive."""
    words = (word.removesuffix("s") or word for word in _WORD.findall(text.casefold()))
    return f" {' '.join(words)} "
