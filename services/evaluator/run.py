"""The operation: read the probes, make the contexts, ask in batches, store the answers, sum up.

Finished batches are kept as objects under a digest of what was asked, so that an attempt after a crash asks only
what is missing.
"""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, datasets_pb2, inference_pb2, trainer_pb2
from ingrain.v1 import evaluator_pb2 as pb
from servicekit.errors import Invalid, NotFound, WrongState
from servicekit.failpoints import failpoint
from servicekit.peers import gateway_client
from servicekit.resources import Resources
from servicekit.storage import Storage
from servicekit.worker import Task
from services.evaluator.asking import ask, batches, context_of
from services.evaluator.judging import check_rubric, judge
from services.evaluator.probes import Probe, probes_of
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.summary import summarize

ROWS = "rows/2"  # what an answer's row holds: entries of another form are not read


class Evaluations:
    def __init__(self, settings: EvaluatorSettings, storage: Storage, rows: Resources[pb.Evaluation]) -> None:
        self.settings = settings
        self.storage = storage
        self.resources = rows

    async def evaluate(self, task: Task, request: pb.CreateEvaluationRequest) -> pb.Evaluation:
        started = time.monotonic()
        client = gateway_client(self.settings, task.project)
        given = request.evaluation
        await task.progress("reading")
        model, dataset, context_sha256 = await inputs(client, given)
        probes = await read_probes(client, given)
        engine = await client.stubs.inference.GetEngine(inference_pb2.GetEngineRequest())
        judge_sha256 = await judge_digest(client, given)
        fingerprint = _fingerprint(given, model.sha256, dataset.sha256, context_sha256, judge_sha256)
        cost, judge_cost = common_pb2.Cost(), common_pb2.Cost()
        rows: list[dict[str, Any]] = []
        contexts: dict[str, str] = {}
        group_key = given.subject.context.group_key
        # With batches of another size, entries would hold other probes.
        journal = f"{task.target}/journal-{self.settings.probe_batch}-{fingerprint[:24]}"
        digests = f"{model.sha256} {context_sha256}"
        for number, batch in enumerate(batches(probes, group_key, self.settings.probe_batch)):
            await task.progress("asking", len(rows), len(probes), "probes")
            key = f"{journal}/{number:06d}"
            entry = await self._once(key, partial(_asked, client, given, batch, contexts, digests))
            _add(cost, entry["usage"])
            if given.HasField("judge") and not batch[0].is_choice:
                before = time.monotonic()
                judging = partial(judge, client, given.judge, batch, entry["rows"])
                entry = await self._once(f"{key}-judged", judging)
                _add(judge_cost, entry["usage"])
                judge_cost.wall_seconds += time.monotonic() - before
            rows.extend(entry["rows"])
        await task.progress("asking", len(rows), len(probes), "probes")
        cost.wall_seconds = time.monotonic() - started - judge_cost.wall_seconds
        evaluation = await self._publish(task, rows, probes, model, dataset, cost)
        evaluation.environment.CopyFrom(engine.environment)
        if given.HasField("judge"):
            evaluation.judge.model_sha256 = judge_sha256
            evaluation.judge_cost.CopyFrom(judge_cost)
        return evaluation

    async def _once(self, key: str, make: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """A batch's entry as an earlier attempt left it, else made and kept."""
        with suppress(NotFound):
            kept: dict[str, Any] = json.loads(await self.storage.get(f"{key}.json"))
            return kept
        entry = await make()
        await self.storage.put(f"{key}.json", json.dumps(entry).encode())
        failpoint("evaluator.after_batch")
        return entry

    async def _publish(
        self,
        task: Task,
        rows: list[dict[str, Any]],
        probes: list[Probe],
        model: trainer_pb2.Model,
        dataset: datasets_pb2.Dataset,
        cost: common_pb2.Cost,
    ) -> pb.Evaluation:
        order = {probe.id: index for index, probe in enumerate(probes)}
        rows.sort(key=lambda row: order[row["id"]])
        lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        stored = await self.storage.put(f"{task.prefix}/results.jsonl", lines)
        files = [{"name": "results.jsonl", "size_bytes": stored.size_bytes, "sha256": stored.sha256}]
        await self.storage.put(f"{task.prefix}/manifest.json", json.dumps({"files": files}).encode())
        evaluation = await self.resources.get(task.target)
        evaluation.kinds.extend(summarize(rows))
        evaluation.cost.CopyFrom(cost)
        evaluation.probe_count = len(rows)
        evaluation.probes_sha256 = dataset.sha256
        evaluation.model_sha256 = model.sha256
        evaluation.results_uri = stored.uri
        return evaluation

    async def results(self, name: str) -> list[dict[str, Any]]:
        evaluation = await self.resources.get(name)
        if evaluation.state != common_pb2.ACTIVE:
            raise WrongState("EVALUATION_NOT_ACTIVE", f"{name} has no results (yet)")
        content = await self.storage.get(self.storage.key(evaluation.results_uri))
        return [json.loads(line) for line in content.splitlines()]


async def _asked(
    client: AsyncClient, given: pb.Evaluation, batch: list[Probe], contexts: dict[str, str], digests: str
) -> dict[str, Any]:
    """The batch's answers, with its group's context, which `contexts` keeps for the next batch."""
    context = ""
    if given.subject.HasField("context"):
        group_key = given.subject.context.group_key
        group = batch[0].value_of(group_key) if group_key else ""
        if group not in contexts:
            contexts[group] = await context_of(client, given.subject, group, digests)
        context = contexts[group]
    return await ask(client, given.subject.model, context, batch, given.cluster_key)


async def inputs(
    client: AsyncClient, given: pb.Evaluation
) -> tuple[trainer_pb2.Model, datasets_pb2.Dataset, str]:
    """The model, the probes' dataset and the digest of the context's documents (empty: no context)."""
    model = await active_model(client, given.subject.model)
    probes = await usable(client, given.probes, datasets_pb2.Dataset.PROBES, "evaluation.probes")
    if not given.subject.HasField("context"):
        return model, probes, ""
    documents = datasets_pb2.Dataset.DOCUMENTS, "evaluation.subject.context.dataset"
    return model, probes, (await usable(client, given.subject.context.dataset, *documents)).sha256


async def judge_digest(client: AsyncClient, given: pb.Evaluation) -> str:
    """Of the model that judges; empty where nobody does. Raises Invalid for a rubric that cannot be filled in."""
    if not given.HasField("judge"):
        return ""
    check_rubric(given.judge.rubric)
    return (await active_model(client, given.judge.model)).sha256


async def active_model(client: AsyncClient, name: str) -> trainer_pb2.Model:
    model = await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=name))
    if model.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(model.state)
        raise WrongState("MODEL_NOT_ACTIVE", f"{model.name} is {state}; only an ACTIVE model can be asked")
    return model


async def usable(client: AsyncClient, name: str, kind: int, field: str) -> datasets_pb2.Dataset:
    """The dataset, if it can be read and holds rows of this kind."""
    dataset = await client.datasets.get(name)
    if dataset.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(dataset.state)
        raise WrongState("DATASET_NOT_ACTIVE", f"{name} is {state}; only an ACTIVE dataset can be read")
    if dataset.kind != kind:
        wanted, found = datasets_pb2.Dataset.Kind.Name(kind), datasets_pb2.Dataset.Kind.Name(dataset.kind)
        raise Invalid(f"NOT_{wanted}", f"{name} holds {found}; here {wanted} are needed", field=field)
    return dataset


async def read_probes(client: AsyncClient, given: pb.Evaluation) -> list[Probe]:
    rows = [row async for row in client.datasets.rows(given.probes)]
    probes = probes_of(rows, given.question_template)
    if given.HasField("judge") and all(probe.is_choice for probe in probes):
        raise Invalid(
            "NOTHING_TO_JUDGE",
            "all probes have choices, which are scored; a judge reads written answers: leave it out, or add questions",
            field="evaluation.judge",
        )
    group_key = given.subject.context.group_key
    for index, probe in enumerate(probes):
        if group_key and not probe.value_of(group_key):
            raise Invalid(
                "NO_GROUP",
                f"probe {probe.id!r} (row {index + 1}) has no metadata {group_key!r}, which says what it is asked with",
                field=f"rows[{index}].metadata.{group_key}",
                row=index + 1,
            )
    return probes


def _fingerprint(given: pb.Evaluation, *digests: str) -> str:
    asked = pb.Evaluation(
        subject=given.subject,
        probes=given.probes,
        cluster_key=given.cluster_key,
        question_template=given.question_template,
        judge=given.judge if given.HasField("judge") else None,
    )
    content = asked.SerializeToString(deterministic=True) + " ".join([ROWS, *digests]).encode()
    return hashlib.sha256(content).hexdigest()


def _add(cost: common_pb2.Cost, usage: list[float]) -> None:
    cost.prompt_token_count += int(usage[0])
    cost.cached_token_count += int(usage[1])
    cost.generated_token_count += int(usage[2])
    cost.flops += usage[3]
    cost.compute_seconds += usage[4]
