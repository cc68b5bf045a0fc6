"""Read, prompt, generate, parse, filter, write: the derivation of a dataset from a dataset.

Everything that costs is kept as it is finished: contexts are resources with deterministic ids, outputs lie in a store by
what they depend on. An attempt after a crash runs this from the top and pays only for what is missing.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import augmenter_pb2, common_pb2, datasets_pb2, trainer_pb2
from servicekit.errors import Invalid, WrongState
from servicekit.peers import gateway_client
from servicekit.worker import Task
from services.augmenter.asking import Asking
from services.augmenter.datasets import Datasets
from services.augmenter.documents import documents_of
from services.augmenter.filters import Sieve, agreement, normalized, statements
from services.augmenter.intake import aiter_of, fill, take_in
from services.augmenter.planning import Planned, plan
from services.augmenter.settings import AugmenterSettings
from services.augmenter.spec import Spec, resolve
from services.augmenter.strategies import Document
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
        planned = plan(spec, documents)
        asking = Asking(
            self.settings, self.datasets, task, client, request.spec, spec, source, model, documents
        )
        answers = await asking.answers(planned)
        await task.progress("filtering", len(planned), len(planned), "prompts")
        kept: Counter[str] = Counter()
        dropped: Counter[str] = Counter()
        sieve = Sieve.over(document.text for document in documents)
        rows = derived_rows(
            spec, request.spec.model, model.sha256, planned, answers.texts, sieve, kept, dropped
        )
        try:
            taken = await take_in(
                self.datasets.storage,
                task.prefix,
                aiter_of(rows),
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
        answers.cost.wall_seconds = time.monotonic() - started
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
                cost=answers.cost,
                prompt_count=len(planned),
                reused_prompt_count=answers.reused_count,
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
