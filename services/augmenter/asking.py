"""Planned prompts -> what the model writes to them. What was written before is taken from the store.

A prompt's output depends on the model, on what it reads, on the settings of sampling and on nothing else: not on its
place among others. So after a document has changed only prompts that read it are asked again.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingrain import AsyncClient, errors
from ingrain.v1 import augmenter_pb2, common_pb2, datasets_pb2, inference_pb2, trainer_pb2
from servicekit.contexts import ensure_context
from servicekit.worker import Task
from services.augmenter.datasets import Datasets
from services.augmenter.intake import aiter_of, fill, take_in
from services.augmenter.outputs import Output, Outputs, digest_of
from services.augmenter.planning import Planned, batches, most_outputs, of_document
from services.augmenter.settings import AugmenterSettings
from services.augmenter.spec import Spec
from services.augmenter.strategies import Document

CALL_S = 1800.0


@dataclass(frozen=True)
class Answers:
    """The texts in the order of the planned prompts; what they took, reused ones included; how many were reused."""

    texts: list[str]
    cost: common_pb2.Cost
    reused_count: int


@dataclass
class Asking:
    """One derivation's prompts, and what they are asked with. Contexts are made as they are needed."""

    settings: AugmenterSettings
    datasets: Datasets
    task: Task
    client: AsyncClient
    given: augmenter_pb2.AugmentationSpec
    spec: Spec
    source: datasets_pb2.Dataset
    model: trainer_pb2.Model
    documents: Sequence[Document]
    _contexts: dict[str, str] = field(default_factory=dict)
    _read_from: str = ""

    async def answers(self, planned: Sequence[Planned]) -> Answers:
        outputs = Outputs(self.datasets.resources.database, self.datasets.storage, self.task.project)
        digests = self.digests(planned)
        known = await outputs.find(digests)
        reused = {digest for digest, output in known.items() if output.made_for != self.task.target}
        # Each digest once, samples of one number together: they share the seed of a call.
        missing = {d: item for d, item in zip(digests, planned, strict=True) if d not in known}
        digest_of_item = {id(item): digest for digest, item in missing.items()}
        size = min(self.settings.prompt_batch, most_outputs(self.spec.max_tokens))
        by_sample = sorted(missing.values(), key=lambda item: item.sample)
        done = len(planned) - len(missing)
        for batch in batches(by_sample, size):
            await self.task.progress("generating", done, len(planned), "prompts")
            written = await self._ask(batch)
            await outputs.keep(
                self.task.target,
                {digest_of_item[id(item)]: entry for item, entry in zip(batch, written, strict=True)},
            )
            for item, (text, usage) in zip(batch, written, strict=True):
                known[digest_of_item[id(item)]] = Output(text, tuple(usage), self.task.target)
            done += len(batch)
        cost = cost_of([known[digest].usage for digest in dict.fromkeys(digests)])
        return Answers(
            [known[digest].text for digest in digests], cost, sum(digest in reused for digest in digests)
        )

    def digests(self, planned: Sequence[Planned]) -> list[str]:
        """Of all that each output depends on."""
        sampled = [self.spec.temperature, self.spec.seed] if self.spec.temperature > 0 else [0.0]
        settings = [self.model.sha256, self.spec.max_tokens, *sampled]
        read = {group: _digest(self.texts(group)) for group in {d.group for d in self.documents}}
        return [
            digest_of(
                *settings,
                item.sample,
                item.ask.prompt,
                None if item.ask.context_group is None else read[item.ask.context_group],
            )
            for item in planned
        ]

    def texts(self, group: str) -> list[str]:
        """What is in the context of the group."""
        return [document.text for document in self.documents if document.group == group]

    async def _ask(self, batch: Sequence[Planned]) -> list[tuple[str, list[float]]]:
        group = batch[0].ask.context_group
        request = inference_pb2.GenerateRequest(
            model=self.given.model,
            context="" if group is None else await self._context(group),
            prompts=[item.ask.prompt for item in batch],
            max_tokens=self.spec.max_tokens,
            temperature=self.spec.temperature,
            seed=(self.spec.seed * 1_000_003 + batch[0].sample) % (1 << 63),
        )
        try:
            answer = await self.client.stubs.inference.Generate(request, timeout=CALL_S)
        except errors.Invalid as error:
            raise of_document(error, batch) from error
        share = 1 / len(batch)
        usage = [part * share for part in usage_of(answer.usage)]
        return [(generation.text, usage) for generation in answer.generations]

    async def _context(self, group: str) -> str:
        if group not in self._contexts:
            if not self._read_from:
                self._read_from = await self._shuffled() if self.spec.shuffled else self.source.name
            selection = common_pb2.RowSelection(distinct_key=self.spec.distinct_key)
            if self.spec.group_key:
                selection.key, selection.value = self.spec.group_key, group
            context = inference_pb2.Context(
                model=self.given.model, dataset=self._read_from, selection=selection
            )
            content = f"{self.model.sha256} {_digest(self.texts(group))}"
            self._contexts[group] = await ensure_context(self.client, context, "augment", content)
        return self._contexts[group]

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
        made = datasets_pb2.Dataset(name=name, display_name="entities exchanged, a control")
        dataset = fill(made, taken)
        dataset.state = common_pb2.ACTIVE
        dataset.create_time.GetCurrentTime()
        identity = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        fingerprint = self.spec.fingerprint(self.source.sha256, self.model.sha256)
        await self.datasets.resources.insert(dataset, identity, fingerprint)
        return name


def usage_of(usage: inference_pb2.Usage) -> list[float]:
    return [
        usage.prompt_token_count - usage.cached_token_count,
        usage.cached_token_count,
        usage.generated_token_count,
        usage.flops,
        usage.compute_seconds,
    ]


def cost_of(usages: Sequence[Sequence[float]]) -> common_pb2.Cost:
    """Tokens rounded to whole ones."""
    new, cached, written, flops, seconds = (
        (sum(part) for part in zip(*usages, strict=True)) if usages else [0.0] * 5
    )
    return common_pb2.Cost(
        prompt_token_count=round(new),
        cached_token_count=round(cached),
        generated_token_count=round(written),
        flops=flops,
        compute_seconds=seconds,
    )


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
