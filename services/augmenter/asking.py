"""Planned prompts -> what the model writes to them. What was written before is taken from the store.

A prompt's output depends on the model, on what it reads, on the settings of sampling and on nothing else: not on its
place among others. So after a document has changed only prompts that read it are asked again.

Several calls are under way at once; each is kept as it ends, whatever becomes of the others.
"""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ingrain import AsyncClient
from ingrain.v1 import augmenter_pb2, common_pb2, datasets_pb2, trainer_pb2
from servicekit.amounts import sum_of
from servicekit.patience import Patience
from servicekit.worker import Task
from services.augmenter.datasets import Datasets
from services.augmenter.generating import Generator, text_digest
from services.augmenter.intake import aiter_of, fill, take_in
from services.augmenter.outputs import digest_of
from services.augmenter.parsing import parsed
from services.augmenter.planning import Planned, again, batches, follow_ups, most_outputs
from services.augmenter.rounds import Round
from services.augmenter.settings import AugmenterSettings
from services.augmenter.sights import Sight
from services.augmenter.spec import Spec
from services.augmenter.strategies import Document


@dataclass(frozen=True)
class Answers:
    """`texts` in the order of `items`: of the planned prompts, each as it was asked last, with the sample's number that its
    text has. What they took, prompts asked again and reused outputs included; how many were asked, and how many of
    these outputs were there already."""

    items: list[Planned]
    texts: list[str]
    cost: common_pb2.Cost
    prompt_count: int
    reused_count: int


@dataclass
class Asking:
    """One derivation's prompts, and what they are asked with."""

    settings: AugmenterSettings
    datasets: Datasets
    task: Task
    client: AsyncClient
    given: augmenter_pb2.AugmentationSpec
    spec: Spec
    source: datasets_pb2.Dataset
    model: trainer_pb2.Model
    documents: Sequence[Document]
    _generator: Generator | None = None
    _read_from: str = ""
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _sights: dict[str, Sight] = field(default_factory=dict)

    async def answers(self, planned: Sequence[Planned]) -> Answers:
        """Outputs that cannot be read are asked for again, as often as `planning.again` says."""
        items, texts = list(planned), [item.text or "" for item in planned]
        round_ = Round(self)
        pending = {index: item for index, item in enumerate(items) if item.text is None}
        while pending:
            written = await round_.ask(list(pending.values()))
            for (index, item), text in zip(pending.items(), written, strict=True):
                items[index], texts[index] = item, text
            unread = [index for index, item in pending.items() if not parsed(item, texts[index])]
            pending = {i: repeated for i in unread if (repeated := again(self.spec, items[i]))}
        await round_.note_rates()
        return Answers(items, texts, round_.cost(), round_.prompt_count, round_.reused_count)

    async def more(self, answers: Answers) -> Answers:
        """With what was written to the prompts that follow on from such as opened, instead of these; cost and counts are of
        all together."""
        while any(item.ask.opens for item in answers.items):
            first = 1 + max(item.number for item in answers.items)
            following = await self.answers(follow_ups(self.spec, answers.items, answers.texts, first))
            kept = [both for both in zip(answers.items, answers.texts, strict=True) if not both[0].ask.opens]
            answers = Answers(
                [item for item, _ in kept] + following.items,
                [text for _, text in kept] + following.texts,
                sum_of(answers.cost, following.cost),
                answers.prompt_count + following.prompt_count,
                answers.reused_count + following.reused_count,
            )
        return answers

    def digests(self, planned: Sequence[Planned]) -> list[str]:
        """Of all that each output depends on."""
        return digests(self.spec, self.model.sha256, self.documents, planned)

    def sight(self, item: Planned) -> Sight | None:
        """The documents that its prompt had in sight; None where they are not as the dataset has them."""
        if self.spec.shuffled:
            return None
        ask = item.ask
        if ask.context_group is None:
            return Sight.of(document.text for document in (*ask.read, *ask.documents))
        if ask.context_group not in self._sights:
            self._sights[ask.context_group] = Sight.of(self.generator.texts(ask.context_group))
        return self._sights[ask.context_group]

    @property
    def generator(self) -> Generator:
        if self._generator is None:
            self._generator = Generator(
                self.client,
                self.given,
                self.spec,
                self.model,
                self.documents,
                self._dataset,
                Patience(self.settings.patience_s),
                since_s=self.task.created_s,
            )
        return self._generator

    def batches(self, items: Sequence[Planned]) -> Iterator[list[Planned]]:
        """Prompts of one context together, for it is warm then, and of one number of sample: they share the seed of a call."""
        most = self.settings.batch_of(self.model)
        by_call: dict[tuple[str | None, int, bool], list[Planned]] = {}
        for item in items:
            by_call.setdefault((item.ask.context_group, item.sample, item.ask.structured), []).append(item)
        groups = {group: number for number, (group, _, _) in enumerate(by_call)}
        for _, alike in sorted(by_call.items(), key=lambda call: (groups[call[0][0]], call[0][1:])):
            yield from batches(alike, min(most, most_outputs(self.spec.max_tokens)))

    async def _dataset(self) -> str:
        """What contexts are made of."""
        async with self._reading:
            if not self._read_from:
                self._read_from = await self._shuffled() if self.spec.shuffled else self.source.name
        return self._read_from

    async def _shuffled(self) -> str:
        """Shuffled documents are read from a dataset of their own."""
        name = f"{self.task.target}-shuffled"
        rows = ({"id": d.id, "text": d.text, "metadata": d.metadata} for d in self.documents)
        attempt = self.task.prefix.rsplit("/", 1)[1]
        taken = await take_in(
            self.datasets.storage,
            f"{name}/{attempt}",
            aiter_of(rows),
            datasets_pb2.Dataset.DOCUMENTS,
            self.settings.most_rows,
        )
        came_from = datasets_pb2.Provenance(source_dataset=self.source.name, source_sha256=self.source.sha256)
        made = datasets_pb2.Dataset(
            name=name, display_name="entities exchanged, a control", provenance=came_from
        )
        dataset = fill(made, taken)
        dataset.state = common_pb2.ACTIVE
        dataset.create_time.GetCurrentTime()
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        fingerprint = self.spec.fingerprint(self.source.sha256, self.model.sha256)
        await self.datasets.resources.insert(dataset, identity, fingerprint)
        return name


def digests(
    spec: Spec, model_sha256: str, documents: Sequence[Document], planned: Sequence[Planned]
) -> list[str]:
    """Of all that each output depends on."""
    sampled = [spec.temperature, spec.seed] if spec.temperature > 0 else [0.0]
    settings = [model_sha256, spec.max_tokens, *sampled]
    texts: dict[str, list[str]] = {}
    for document in documents:
        texts.setdefault(document.group, []).append(document.text)
    read = {group: text_digest(found) for group, found in texts.items()}
    return [
        digest_of(
            *settings,
            item.sample,
            item.ask.prompt,
            None if item.ask.context_group is None else read[item.ask.context_group],
            *(["structured"] if item.ask.structured else []),
        )
        for item in planned
    ]
