"""What is asked, in which order, in how many calls. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ingrain import errors
from servicekit.errors import Invalid
from services.augmenter.sight import Room, Sight
from services.augmenter.spec import Spec
from services.augmenter.strategies import Ask, Document

MESSAGE_BYTES = 3 << 20  # of prompts, or of outputs, in a message
SAMPLE = 256  # prompts that are counted for an estimate
TOKEN_BYTES = 8  # of text that a token stands for, at most on average
MOST_RETRIES = 2  # of an output that cannot be read
SAMPLES = 64  # the most there are of a prompt: numbers from here on are of prompts that are asked again


@dataclass(frozen=True)
class Planned:
    """One sample of one ask; `number` counts all of them. With a `text` it was made without a model, and nothing is asked."""

    number: int
    strategy: str
    ask: Ask
    sample: int
    text: str | None = None


def plan(spec: Spec, documents: Sequence[Document], room: Room | None = None) -> list[Planned]:
    """Every prompt to be sent, samples of an ask side by side, asks of a context side by side; and what needs none.

    With `room`, of a group that does not fit the model's window so much is read as does.
    """
    found: list[Planned] = []
    samples = spec.samples_per_document if spec.temperature > 0 else 1
    for name in spec.strategies:
        rows = spec.strategy(name).rows
        if rows is not None:
            for sample in range(spec.samples_per_document):
                for made in rows(documents, spec.seed, sample):
                    ask = Ask("", made.documents, None)
                    found.append(Planned(len(found), name, ask, sample, made.text))
            continue
        for ask in asks_of(spec, name, documents, room):
            # What is asked of a subject is not asked again for each document that names it.
            for sample in range(samples):
                found.append(Planned(len(found), name, ask, sample))
    return found


def asks_of(spec: Spec, name: str, documents: Sequence[Document], room: Room | None = None) -> Iterator[Ask]:
    """The strategy's prompts, each once, as they are asked here; none for a strategy without a model."""
    strategy = spec.strategy(name)
    if strategy.asks is None:
        return
    sight = Sight(documents, spec.context_document_count, room)
    for ask in strategy.asks(spec.prompt(name).text, documents, spec.seed):
        yield replace(sight.narrowed(ask), structured=spec.structured(name) and not ask.opens)


def follow_ups(spec: Spec, planned: Sequence[Planned], outputs: Sequence[str], first: int) -> list[Planned]:
    """What is asked next where an ask opened, given the outputs to `planned`; numbers from `first` on."""
    found: list[Planned] = []
    for item, output in zip(planned, outputs, strict=True):
        then = spec.strategy(item.strategy).then
        if not item.ask.opens or then is None:
            continue
        for ask in then(spec.prompt(item.strategy).text, item.ask, output):
            following = replace(ask, structured=spec.structured(item.strategy))
            found.append(replace(item, number=first + len(found), ask=following))
    return found


def again(spec: Spec, item: Planned) -> Planned | None:
    """The same with another seed, for an output that cannot be read (`parsing.parsed` gives nothing); None where it was
    asked often enough, or greedily. The sample's number grows by `SAMPLES` each time."""
    if spec.temperature == 0 or not item.ask.structured or item.sample >= MOST_RETRIES * SAMPLES:
        return None
    return replace(item, sample=item.sample + SAMPLES)


def batches(planned: Sequence[Planned], size: int) -> Iterator[list[Planned]]:
    """Runs of at most `size` prompts that share a context, a schema and a number of sample, and fit a message."""
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


def _call(item: Planned) -> tuple[int, str | None, bool]:
    return item.sample, item.ask.context_group, item.ask.structured


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
