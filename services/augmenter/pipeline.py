"""Read, prompt, generate, parse, filter, write: the derivation of a dataset from a dataset.

Everything that costs is kept as it is finished: contexts are resources with deterministic ids, outputs lie in a store by
what they depend on. An attempt after a crash runs this from the top and pays only for what is missing.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import augmenter_pb2, common_pb2, datasets_pb2, trainer_pb2
from servicekit.amounts import sum_of
from servicekit.errors import Invalid, WrongState
from servicekit.patience import Patience
from servicekit.peers import gateway_client
from servicekit.prices import load_prices, parts_of
from servicekit.worker import Task
from services.augmenter.asking import Asking
from services.augmenter.counting import counts_of, room_of
from services.augmenter.datasets import Datasets
from services.augmenter.derivation import Derivation, Statement
from services.augmenter.documents import documents_of
from services.augmenter.dose import Dose, originals, rounds
from services.augmenter.gates import Sieve
from services.augmenter.generating import cost_of
from services.augmenter.intake import Taken, fill, take_in
from services.augmenter.judging import Judging, of_model, require_logprobs
from services.augmenter.notes import notes_of
from services.augmenter.outputs import Outputs
from services.augmenter.planning import plan
from services.augmenter.pricing import priced
from services.augmenter.settings import AugmenterSettings
from services.augmenter.spec import Spec, require_model, resolve
from services.augmenter.strategies import Document


class Pipeline:
    def __init__(self, settings: AugmenterSettings, datasets: Datasets) -> None:
        self.settings = settings
        self.datasets = datasets
        self.prices = load_prices(settings.prices)

    async def augment(self, task: Task, request: augmenter_pb2.AugmentDatasetRequest) -> datasets_pb2.Dataset:
        started = time.monotonic()
        client = gateway_client(self.settings, task.project)
        spec = resolve(request.spec)
        require_model(request.spec, spec)
        await task.progress("reading")
        source, documents = await self.read(request.spec.dataset, spec)
        model = await usable_model(client, request.spec, spec)
        room = await room_of(client, model, spec, documents, Patience(self.settings.patience_s))
        planned = await asyncio.to_thread(plan, spec, documents, room)
        asking = Asking(
            self.settings, self.datasets, task, client, request.spec, spec, source, model, documents
        )
        judging = await self._judging(task, asking)
        dose = Dose(spec.target_tokens)
        made = Derivation(spec, model.name, model.sha256, Sieve.over(documents, spec), dose)
        cost, prompt_count, reused_count = common_pb2.Cost(), 0, 0
        for items in rounds(planned, spec.target_tokens):
            answers = await asking.more(await asking.answers(items))
            cost = sum_of(cost, answers.cost)
            prompt_count += answers.prompt_count
            reused_count += answers.reused_count
            await task.progress("filtering", len(items), len(items), "prompts")
            await keep(made, made.sifted(answers.items, answers.texts), judging, client, model.name)
            if spec.target_tokens:
                await task.progress("counting", dose.held_tokens, spec.target_tokens, "tokens")
            if dose.full:
                break
        taken = await self._stored(task, made, source)
        cost = sum_of(cost, cost_of(list(judging.weighing_usages.values())))
        judge = judging.judge.model if judging.judge else None
        judge_cost = cost_of(list(judging.judge_usages.values())) if judging.judge_usages else None
        if judge_cost is not None:
            cost = sum_of(cost, judge_cost)
        cost.wall_seconds = time.monotonic() - started
        parts = parts_of(cost, model, judge_cost, judge) if model.name else []
        price, of_price = await priced(client, parts, self.prices, asking.generator.patience)
        notes = notes_of(
            made, planned, judging.uncontradicted_count, judging.unread_count, model.context_window
        )
        dataset = fill(await self.datasets.resources.get(task.target), taken)
        dataset.provenance.CopyFrom(
            datasets_pb2.Provenance(
                source_dataset=source.name,
                source_sha256=source.sha256,
                model=model.name,
                model_sha256=model.sha256,
                strategies=spec.strategies,
                prompt_set=spec.prompt_sets(),
                dropped_counts=made.dropped,
                kept_counts=made.kept,
                cost=cost,
                prompt_count=prompt_count,
                reused_prompt_count=reused_count,
                dropped_examples={
                    reason: datasets_pb2.Examples(texts=texts) for reason, texts in made.examples.items()
                },
                notes=[*notes, *of_price],
                token_count=dose.held_tokens,
                judge=judge.name if judge else "",
                judge_sha256=judge.sha256 if judge else "",
                judge_cost=judge_cost,
                price=price,
            )
        )
        return dataset

    async def _judging(self, task: Task, asking: Asking) -> Judging:
        """With the models that the gates ask."""
        gates = asking.spec.gates
        judge = None
        if gates.judge:
            judge = of_model(asking.generator, await model_of(asking.client, gates.judge))
        outputs = Outputs(self.datasets.resources.database, self.datasets.storage, task.project)
        settings = self.settings
        return Judging(
            outputs, task, asking.generator, judge, asking.sight, settings.batch_of, settings.prompt_calls
        )

    async def _stored(self, task: Task, made: Derivation, source: datasets_pb2.Dataset) -> Taken:
        if not made.rows and not made.spec.original_copies:
            raise Invalid(
                "NOTHING_DERIVED",
                f"nothing was derived that could be kept (dropped: {dict(made.dropped)}); try other strategies or gates, or where a model "
                "wrote another one or a higher temperature",
                field="spec",
            )
        rows = self._rows(made, source)
        kind = datasets_pb2.Dataset.DOCUMENTS
        return await take_in(self.datasets.storage, task.prefix, rows, kind, self.settings.most_rows)

    async def _rows(self, made: Derivation, source: datasets_pb2.Dataset) -> AsyncIterator[dict[str, Any]]:
        """The derived ones, then the copies of documents."""
        for row in made.rows:
            yield row
        if made.spec.original_copies:
            lines = (json.loads(line) async for line in self.datasets.lines(source))
            async for row in originals(lines, made.spec.original_copies):
                yield row

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


async def keep(
    made: Derivation, statements: list[Statement], judging: Judging, client: AsyncClient, model: str
) -> None:
    """What passes the gates that ask a model becomes rows."""
    passed = []
    for statement, verdicts in zip(
        statements, await judging.judged(statements, made.spec.gates), strict=True
    ):
        if reason := verdicts.reason_to_drop:
            made.drop(reason, statement.text)
        else:
            passed.append((statement, verdicts.shown))
    texts = [statement.text for statement, _ in passed]
    counts = await counts_of(client, model, texts, judging.writer.patience)
    for (statement, shown), tokens in zip(passed, counts, strict=True):
        made.keep(statement, tokens, shown)


async def usable_model(
    client: AsyncClient, given: augmenter_pb2.AugmentationSpec, spec: Spec
) -> trainer_pb2.Model:
    """The model that writes, and nothing where none needs to; raises where it cannot do what the gates ask of it."""
    if not given.model:
        return trainer_pb2.Model()
    model = await model_of(client, given.model)
    if spec.gates.likelier_than_contradiction:
        require_logprobs(model)
    if spec.gates.judge:
        await model_of(client, spec.gates.judge)
    return model


async def model_of(client: AsyncClient, name: str) -> trainer_pb2.Model:
    """The model, if it can be asked."""
    model = await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=name))
    if model.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(model.state)
        raise WrongState("MODEL_NOT_ACTIVE", f"{name} is {state}; only an ACTIVE model can be asked")
    return model
