"""What a reader of a derivation should know, a sentence each. Pure."""

from collections import Counter
from collections.abc import Sequence

from services.augmenter.derivation import Derivation
from services.augmenter.planning import Planned
from services.augmenter.strategies.base import ALL_DOCUMENTS, SUBJECT_AMONG_ALL


def notes_of(
    made: Derivation, planned: Sequence[Planned], uncontradicted: int, unread: int, context_window: int
) -> list[str]:
    """`uncontradicted`: statements without a contradiction to be weighed against. `unread`: verdicts that could not be
    read. `context_window`: of the model that writes, in tokens."""
    notes = [*_narrowed(made, planned, context_window), *_idle(made, planned)]
    if uncontradicted:
        notes.append(
            f"No contradiction could be formed of {uncontradicted:,} statements by rule; they were kept without being weighed."
        )
    if unread:
        notes.append(f"The judge's answer could not be read for {unread:,} statements; they were kept.")
    dose = made.dose
    if dose.target_tokens and not dose.full:
        notes.append(
            f"Kept rows hold {dose.held_tokens:,} of the {dose.target_tokens:,} tokens that were wanted; there are no more "
            "samples to take."
        )
    return notes


def _narrowed(made: Derivation, planned: Sequence[Planned], context_window: int) -> list[str]:
    """Where all documents were to be read and did not fit."""
    of_group = {
        name
        for name in made.spec.strategies
        if made.spec.strategy(name).sees in (ALL_DOCUMENTS, SUBJECT_AMONG_ALL)
    }
    read = [len(item.ask.read) for item in planned if item.ask.read and item.strategy in of_group]
    if not read or made.spec.context_document_count:
        return []
    count = str(min(read)) if min(read) == max(read) else f"{min(read)} to {max(read)}"
    return [
        f"{len(read):,} prompts read {count} documents of their group, those most like the one in focus: all of them do not "
        f"fit the model's window of {context_window:,} tokens."
    ]


def _idle(made: Derivation, planned: Sequence[Planned]) -> list[str]:
    prompts = Counter(item.strategy for item in planned if item.text is None)
    found = [
        f"{count:,} prompts of `{name}` gave nothing that was kept."
        for name, count in prompts.items()
        if not made.kept[name]
    ]
    found += [
        f"`{name}` found nothing to ask about in the documents."
        for name in made.spec.strategies
        if name not in {item.strategy for item in planned}
    ]
    return found
