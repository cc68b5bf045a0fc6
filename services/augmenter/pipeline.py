"""Read, prompt, generate, parse, filter, write: the derivation of a dataset from a dataset.

Everything that costs is kept as it is finished: contexts are resources with deterministic ids, batches of outputs
lie in the journal. An attempt after a crash runs this from the top and pays only for what is missing.
"""

import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from ingrain import AsyncClient, errors
from ingrain.v1 import augmenter_pb2, common_pb2, datasets_pb2, inference_pb2, trainer_pb2
from servicekit.contexts import ensure_context
from servicekit.errors import Invalid, WrongState
from servicekit.failpoints import failpoint
from servicekit.peers import gateway_client
from servicekit.worker import Task
from services.augmenter.datasets import Datasets
from services.augmenter.documents import documents_of
from services.augmenter.filters import Sieve, agreement, normalized, statements
from services.augmenter.intake import fill, take_in
from services.augmenter.journal import Journal
from services.augmenter.planning import Planned, batches, most_outputs, of_document, plan
from services.augmenter.settings import AugmenterSettings
from services.augmenter.spec import Spec, resolve
from services.augmenter.strategies import STRATEGIES, Document
from services.augmenter.strategies.base import template_sha256


class Pipeline:
    def __init__(self, settings: AugmenterSettings, datasets: Datasets) -> None:
        self.settings = settings
        self.datasets = datasets

    async def augment(self, task: Task, request: augmenter_pb2.AugmentDatasetRequest) -> datasets_pb2.Dataset:
        started = time.monotonic()
        client = gateway_client(self.settings, task.project)
        spec = resolve(request.spec)
        await task.progress("reading")
        source, documents = await self.read(request.spec.dataset, spec)
        model = await model_of(client, request.spec.model)
        fingerprint = spec.fingerprint(source.sha256, model.sha256)
        contexts = await self._contexts(task, client, request.spec, spec, source, documents, fingerprint)
        planned = plan(spec, documents)
        outputs, cost = await self._generate(
            task, client, request.spec.model, spec, planned, contexts, fingerprint
        )
        await task.progress("filtering", len(planned), len(planned), "prompts")
        kept: Counter[str] = Counter()
        dropped: Counter[str] = Counter()
        sieve = Sieve.over(document.text for document in documents)
        rows = derived_rows(spec, request.spec.model, model.sha256, planned, outputs, sieve, kept, dropped)
        try:
            taken = await take_in(
                self.datasets.storage,
                task.prefix,
                _aiter(rows),
                datasets_pb2.Dataset.DOCUMENTS,
                self.settings.most_rows,
            )
        except Invalid as error:
            if error.reason != "EMPTY_DATASET":
                raise
            raise Invalid(
                "NOTHING_DERIVED",
                f"the model wrote nothing that could be kept ({dict(dropped)}); try another model, strategies or a "
                "higher temperature",
                field="spec",
            ) from None
        cost.wall_seconds = time.monotonic() - started
        dataset = fill(await self.datasets.resources.get(task.target), taken)
        dataset.provenance.CopyFrom(
            datasets_pb2.Provenance(
                source_dataset=source.name,
                source_sha256=source.sha256,
                model=model.name,
                model_sha256=model.sha256,
                strategies=spec.strategies,
                prompt_set=spec.prompt_set,
                dropped_counts=dropped,
                kept_counts=kept,
                cost=cost,
            )
        )
        return dataset

    async def documents(self, name: str) -> datasets_pb2.Dataset:
        """The dataset, if it can be augmented."""
        dataset = await self.datasets.usable(name)
        if dataset.kind != datasets_pb2.Dataset.DOCUMENTS:
            kind = datasets_pb2.Dataset.Kind.Name(dataset.kind)
            raise Invalid(
                "NOT_DOCUMENTS", f"{name} holds {kind}; documents are augmented", field="spec.dataset"
            )
        return dataset

    async def read(self, name: str, spec: Spec) -> tuple[datasets_pb2.Dataset, list[Document]]:
        dataset = await self.documents(name)
        rows = [json.loads(line) async for line in self.datasets.lines(dataset)]
        return dataset, documents_of(rows, spec)

    async def _contexts(
        self,
        task: Task,
        client: AsyncClient,
        given: augmenter_pb2.AugmentationSpec,
        spec: Spec,
        source: datasets_pb2.Dataset,
        documents: Sequence[Document],
        fingerprint: str,
    ) -> dict[str, str]:
        """Group -> context, for the strategies that need one. Shuffled documents are read from a dataset of their own."""
        if not any("all documents" in STRATEGIES[name].sees for name in spec.strategies):
            return {}
        read_from = source.name
        if spec.shuffled:
            read_from = await self._shuffled_dataset(task, documents, fingerprint)
        groups = list(dict.fromkeys(document.group for document in documents))
        contexts = {}
        for index, group in enumerate(groups):
            await task.progress("reading contexts", index, len(groups), "contexts")
            selection = common_pb2.RowSelection(distinct_key=spec.distinct_key)
            if spec.group_key:
                selection.key, selection.value = spec.group_key, group
            context = inference_pb2.Context(model=given.model, dataset=read_from, selection=selection)
            contexts[group] = await ensure_context(client, context, "augment", fingerprint)
        return contexts

    async def _shuffled_dataset(self, task: Task, documents: Sequence[Document], fingerprint: str) -> str:
        name = f"{task.target}-shuffled"
        rows = ({"id": d.id, "text": d.text, "metadata": d.metadata} for d in documents)
        taken = await take_in(
            self.datasets.storage,
            f"{name}/{task.prefix.rsplit('/', 1)[1]}",
            _aiter(rows),
            1,
            self.settings.most_rows,
        )
        dataset = fill(datasets_pb2.Dataset(name=name, display_name="entities exchanged, a control"), taken)
        dataset.state = common_pb2.ACTIVE
        dataset.create_time.GetCurrentTime()
        await self.datasets.resources.insert(dataset, str(uuid.uuid5(uuid.NAMESPACE_URL, name)), fingerprint)
        return name

    async def _generate(
        self,
        task: Task,
        client: AsyncClient,
        model: str,
        spec: Spec,
        planned: Sequence[Planned],
        contexts: dict[str, str],
        fingerprint: str,
    ) -> tuple[list[str], common_pb2.Cost]:
        """The output of every planned prompt, in order."""
        outputs: list[str] = []
        cost = common_pb2.Cost()
        size = min(self.settings.prompt_batch, most_outputs(spec.max_tokens))
        # Of another size, batches would hold other prompts.
        journal = Journal(self.datasets.storage, task.target, f"{size}-{fingerprint}")
        for number, batch in enumerate(batches(planned, size)):
            await task.progress("generating", len(outputs), len(planned), "prompts")
            entry = await journal.read(number)
            if entry is None:
                entry = await self._ask(client, model, spec, batch, contexts)
                await journal.write(number, entry)
                failpoint("augmenter.after_batch")
            outputs.extend(entry["outputs"])
            add_usage(cost, entry["usage"])
        return outputs, cost

    async def _ask(
        self, client: AsyncClient, model: str, spec: Spec, batch: Sequence[Planned], contexts: dict[str, str]
    ) -> dict[str, Any]:
        group = batch[0].ask.context_group
        request = inference_pb2.GenerateRequest(
            model=model,
            context=contexts[group] if group is not None else "",
            prompts=[item.ask.prompt for item in batch],
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            seed=(spec.seed * 1_000_003 + batch[0].number) % (1 << 63),
        )
        try:
            answer = await client.stubs.inference.Generate(request, timeout=1800)
        except errors.Invalid as error:
            raise of_document(error, batch) from error
        usage = answer.usage
        return {
            "outputs": [generation.text for generation in answer.generations],
            "usage": [
                usage.prompt_token_count - usage.cached_token_count,
                usage.cached_token_count,
                usage.generated_token_count,
                usage.flops,
                usage.compute_seconds,
            ],
        }


def derived_rows(
    spec: Spec,
    model: str,
    model_sha256: str,
    planned: Sequence[Planned],
    outputs: Sequence[str],
    sieve: Sieve,
    kept: Counter[str],
    dropped: Counter[str],
) -> Iterator[dict[str, Any]]:
    prompts = ((item.ask.documents[0].group, f"{item.strategy}: {item.ask.prompt}") for item in planned)
    agreed = agreement(prompts, outputs)
    for item, output in zip(planned, outputs, strict=True):
        first = item.ask.documents[0]
        needed = spec.min_agreement if item.ask.context_group is not None else 1
        for statement in statements(output):
            agreeing = agreed[first.group, normalized(statement)]
            reason = sieve.reason_to_drop(statement) or ("unconfirmed" if agreeing < needed else "")
            if reason:
                dropped[reason] += 1
                continue
            kept[item.strategy] += 1
            metadata: dict[str, Any] = {"strategy": item.strategy}
            if spec.group_key:
                metadata[spec.group_key] = first.group
            yield {
                "id": f"{item.strategy}-{item.number:06d}-{kept[item.strategy]:06d}",
                "text": statement,
                "metadata": metadata,
                "provenance": {
                    "source_rows": [document.id for document in item.ask.documents],
                    "strategy": item.strategy,
                    "prompt_set": spec.prompt_set,
                    "prompt_sha256": template_sha256(spec.prompt_set, item.strategy),
                    "model": model,
                    "model_sha256": model_sha256,
                    "temperature": spec.temperature,
                    "seed": spec.seed,
                    "sample": item.sample,
                    "shuffled": spec.shuffled,
                    "agreement": agreeing,
                },
            }


async def model_of(client: AsyncClient, name: str) -> trainer_pb2.Model:
    """The model, if it can be asked."""
    model = await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=name))
    if model.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(model.state)
        raise WrongState("MODEL_NOT_ACTIVE", f"{name} is {state}; only an ACTIVE model can be asked")
    return model


def add_usage(cost: common_pb2.Cost, usage: Sequence[float]) -> None:
    cost.prompt_token_count += int(usage[0])
    cost.cached_token_count += int(usage[1])
    cost.generated_token_count += int(usage[2])
    cost.flops += usage[3]
    cost.compute_seconds += usage[4]


async def _aiter(rows: Any) -> AsyncIterator[Any]:
    for row in rows:
        yield row
