"""What is asked, in which order, in how many calls. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingrain import errors
from servicekit.errors import Invalid
from services.augmenter.spec import Spec
from services.augmenter.strategies import STRATEGIES, Ask, Document
from services.augmenter.strategies.base import template

MESSAGE_BYTES = 3 << 20  # of prompts, or of outputs, in a message
SAMPLE = 256  # prompts that are counted for an estimate
TOKEN_BYTES = 8  # of text that a token stands for, at most on average


@dataclass(frozen=True)
class Planned:
    """One sample of one ask; `number` counts all of them."""

    number: int
    strategy: str
    ask: Ask
    sample: int


def plan(spec: Spec, documents: Sequence[Document]) -> list[Planned]:
    """Every prompt to be sent, samples of an ask side by side, asks of a context side by side."""
    found = []
    for name in spec.strategies:
        for ask in STRATEGIES[name].asks(template(spec.prompt_set, name), documents):
            # What is asked of a subject is not asked again for each document that names it.
            for sample in range(spec.samples_per_document if spec.temperature > 0 else 1):
                found.append(Planned(len(found), name, ask, sample))
    return found


def batches(planned: Sequence[Planned], size: int) -> Iterator[list[Planned]]:
    """Runs of at most `size` prompts that share a context and a number of sample, and fit a message."""
    batch: list[Planned] = []
    batch_bytes = 0
    for item in planned:
        prompt_bytes = len(item.ask.prompt.encode())
        full = len(batch) == size or batch_bytes + prompt_bytes > MESSAGE_BYTES
        if batch and (full or _call(item) != _call(batch[0])):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(item)
        batch_bytes += prompt_bytes
    if batch:
        yield batch


def _call(item: Planned) -> tuple[int, str | None]:
    return item.sample, item.ask.context_group


def most_outputs(max_tokens: int) -> int:
    """How many outputs of that length fit a message."""
    return max(1, MESSAGE_BYTES // (TOKEN_BYTES * max_tokens))


def sample_prompts(planned: Sequence[Planned]) -> list[str]:
    """At least one, evenly over all of them, as many as fit a message."""
    chosen: list[str] = []
    size = 0
    for item in planned[:: -(-len(planned) // SAMPLE)]:
        size += len(item.ask.prompt.encode())
        if chosen and size > MESSAGE_BYTES:
            break
        chosen.append(item.ask.prompt)
    return chosen


def of_document(error: errors.Invalid, batch: Sequence[Planned]) -> Exception:
    """What inference says of the third prompt of a call is said of the document that it asks about."""
    fields = [violation.field for violation in error.field_violations]
    found = re.match(r"prompts\[(\d+)\]", fields[0]) if fields else None
    if found is None:
        return error
    item = batch[int(found[1])]
    document = item.ask.documents[0].id
    message = f"{item.strategy} of document {document!r}: {error.message}"
    return Invalid(error.reason, message, field=f"documents[{document!r}]", **error.metadata)
