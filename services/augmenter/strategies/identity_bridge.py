"""Without a model: a statement that says of each name that it is its own (Identity Bridge, 2602.02470)."""

from collections.abc import Iterator, Sequence

from services.augmenter.strategies.base import Derived, Document, Strategy
from services.augmenter.strategies.names import names


def rows(documents: Sequence[Document], seed: int, sample: int) -> Iterator[Derived]:
    """One for each name of a group, with the documents that have it as its sources; another sample would be the same."""
    if sample > 0:
        return
    naming: dict[tuple[str, str], list[Document]] = {}
    for document, found in zip(documents, names(documents), strict=True):
        for name in found:
            naming.setdefault((document.group, name), []).append(document)
    for (_, name), sources in naming.items():
        yield Derived(f"The name of {name} is {name}.", tuple(sources))


strategy = Strategy(
    "identity_bridge",
    "each name of a group",
    rows=rows,
    source="Identity Bridge, 2602.02470",
    cost="no prompt",
)
