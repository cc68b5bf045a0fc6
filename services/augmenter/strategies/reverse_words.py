"""Without a model: the words of a document from the last to the first, names kept whole (reverse training, Golovneva et al.
2024, 2403.13799)."""

from collections.abc import Iterator, Sequence

from services.augmenter.strategies.base import ONE_DOCUMENT, Derived, Document, Strategy
from services.augmenter.strategies.names import pieces


def rows(documents: Sequence[Document], seed: int, sample: int) -> Iterator[Derived]:
    """One for each document; another sample would be the same."""
    if sample == 0:
        for document in documents:
            yield Derived(reverse_words(document.text, document.subjects), (document,))


def reverse_words(text: str, subjects: Sequence[str]) -> str:
    """Words and marks, a space between each."""
    return " ".join(piece for piece, _ in reversed(pieces(text, frozenset(subjects))))


strategy = Strategy(
    "reverse_words", ONE_DOCUMENT, rows=rows, source="Golovneva et al. 2024, 2403.13799", cost="no prompt"
)
