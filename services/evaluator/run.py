"""The operation: read the probes, make the contexts, ask in batches, store the answers, sum up.

Finished batches are kept as objects under a digest of what was asked, so that an attempt after a crash asks only
what is missing.
"""

import hashlib
import json
import time
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
from services.evaluator.probes import Probe, probes_of
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.summary import summarize


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
        fingerprint = _fingerprint(given, model.sha256, dataset.sha256, context_sha256)
        cost = common_pb2.Cost()
        rows: list[dict[str, Any]] = []
        group_key = given.subject.context.group_key
        contexts: dict[str, str] = {}
        # With batches of another size, entries would hold other probes.
        journal = f"{task.target}/journal-{self.settings.probe_batch}-{fingerprint[:24]}"
        digests = f"{model.sha256} {context_sha256}"
        for number, batch in enumerate(batches(probes, group_key, self.settings.probe_batch)):
            await task.progress("asking", len(rows), len(probes), "probes")
            key = f"{journal}/{number:06d}.json"
            entry = await self._kept(key)
            if entry is None:
                context = ""
                if given.subject.HasField("context"):
                    group = batch[0].value_of(group_key) if group_key else ""
                    if group not in contexts:
                        contexts[group] = await context_of(client, given.subject, group, digests)
                    context = contexts[group]
                entry = await ask(client, given.subject.model, context, batch, given.cluster_key)
                await self.storage.put(key, json.dumps(entry).encode())
                failpoint("evaluator.after_batch")
            rows.extend(entry["rows"])
            _add(cost, entry["usage"])
        await task.progress("asking", len(rows), len(probes), "probes")
        cost.wall_seconds = time.monotonic() - started
        evaluation = await self._publish(task, rows, probes, model, dataset, cost)
        evaluation.environment.CopyFrom(engine.environment)
        return evaluation

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

    async def _kept(self, key: str) -> Any:
        try:
            return json.loads(await self.storage.get(key))
        except NotFound:
            return None

    async def results(self, name: str) -> list[dict[str, Any]]:
        evaluation = await self.resources.get(name)
        if evaluation.state != common_pb2.ACTIVE:
            raise WrongState("EVALUATION_NOT_ACTIVE", f"{name} has no results (yet)")
        content = await self.storage.get(self.storage.key(evaluation.results_uri))
        return [json.loads(line) for line in content.splitlines()]


async def inputs(
    client: AsyncClient, given: pb.Evaluation
) -> tuple[trainer_pb2.Model, datasets_pb2.Dataset, str]:
    """The model, the probes' dataset and the digest of the context's documents (empty: no context)."""
    model = await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=given.subject.model))
    if model.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(model.state)
        raise WrongState("MODEL_NOT_ACTIVE", f"{model.name} is {state}; only an ACTIVE model can be asked")
    probes = await usable(client, given.probes, datasets_pb2.Dataset.PROBES, "evaluation.probes")
    if not given.subject.HasField("context"):
        return model, probes, ""
    documents = datasets_pb2.Dataset.DOCUMENTS, "evaluation.subject.context.dataset"
    return model, probes, (await usable(client, given.subject.context.dataset, *documents)).sha256


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
    )
    content = asked.SerializeToString(deterministic=True) + " ".join(digests).encode()
    return hashlib.sha256(content).hexdigest()


def _add(cost: common_pb2.Cost, usage: list[float]) -> None:
    cost.prompt_token_count += int(usage[0])
    cost.cached_token_count += int(usage[1])
    cost.generated_token_count += int(usage[2])
    cost.flops += usage[3]
    cost.compute_seconds += usage[4]
