"""Local, in two steps: the model first says how this document is best studied, then does it (Active Reading, 2508.09494)."""

from collections.abc import Iterator, Sequence

from services.augmenter.strategies.base import (
    DIVIDER,
    ONE_DOCUMENT,
    Ask,
    Document,
    Strategy,
    each_alone,
    filled,
    lines,
)

MOST_WAYS = 5
MOST_CHARACTERS = 500  # of a way to study; what is longer is no instruction


def asks(text: str, documents: Sequence[Document], seed: int) -> Iterator[Ask]:
    for ask in each_alone(text.split(DIVIDER)[0], documents, seed):
        yield Ask(ask.prompt, ask.documents, None, opens=True)


def then(text: str, ask: Ask, output: str) -> Iterator[Ask]:
    """A prompt for each way that was named, from the first; none where none was."""
    (document,) = ask.documents
    carry_out = text.split(DIVIDER)[1]
    ways = [way for way in dict.fromkeys(lines(output)) if any(c.isalpha() for c in way)]
    for way in [way for way in ways if len(way) <= MOST_CHARACTERS][:MOST_WAYS]:
        yield Ask(filled(carry_out, document=document.text, way=way), (document,), None)


strategy = Strategy(
    "active_reading",
    ONE_DOCUMENT,
    asks,
    then=then,
    source="Active Reading, 2508.09494",
    cost=f"a prompt for each document and at most {MOST_WAYS} more",
    placeholders=(("document",), ("document", "way")),
    divided=True,
    most_follow_ups=MOST_WAYS,
)
