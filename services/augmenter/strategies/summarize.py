"""Local: a document at several levels: in a sentence, in a paragraph, by its key points."""

from collections.abc import Iterator, Sequence

from services.augmenter.strategies.base import DIVIDER, ONE_DOCUMENT, Ask, Document, Strategy, each_alone


def asks(text: str, documents: Sequence[Document], seed: int) -> Iterator[Ask]:
    """Each level for all documents before the next."""
    for level in text.split(DIVIDER):
        yield from each_alone(level, documents, seed)


strategy = Strategy(
    "summarize",
    ONE_DOCUMENT,
    asks,
    source="usual practice",
    cost="three prompts for each document",
    divided=True,
)
