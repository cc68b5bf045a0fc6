"""The operation: read the probes, ask what nobody asked before, store the answers, sum up."""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, inference_pb2
from ingrain.v1 import evaluator_pb2 as pb
from servicekit.contexts import ensure_context
from servicekit.errors import WrongState
from servicekit.peers import gateway_client
from servicekit.resources import Resources
from servicekit.storage import Storage
from servicekit.worker import Task
from services.evaluator.answers import Answers, Entry
from services.evaluator.asking import ask, asked_of, batches, row_of
from services.evaluator.documents import Documents, context_of, read_documents
from services.evaluator.inputs import Inputs, cut_texts, inputs, read_probes
from services.evaluator.judging import judge, judged, prompt_of
from services.evaluator.probes import Probe
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.summary import summarize

NOTHING = Documents({}, {})


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
        found = await inputs(client, given)
        probes = await cut_texts(client, found, await read_probes(client, given, found))
        documents = NOTHING
        if given.subject.HasField("context"):
            documents = await read_documents(client, given.subject.context)
        engine = await client.stubs.inference.GetEngine(inference_pb2.GetEngineRequest())
        run = _Run(task.target, client, given, found, documents, engine, Answers(self.storage, task.project))
        group_key = given.subject.context.group_key
        for batch in batches(probes, group_key, self.settings.probe_batch):
            await task.progress("asking", len(run.rows), len(probes), "probes")
            await run.answer(batch, batch[0].value_of(group_key) if group_key else "")
        await task.progress("asking", len(run.rows), len(probes), "probes")
        run.cost.wall_seconds += time.monotonic() - started - run.asking_s
        return await self._publish(task, run, [probe.id for probe in probes])

    async def _publish(self, task: Task, run: "_Run", order: Sequence[str]) -> pb.Evaluation:
        rows = [run.rows[id] for id in order]
        lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
        stored = await self.storage.put(f"{task.prefix}/results.jsonl", lines)
        files = [{"name": "results.jsonl", "size_bytes": stored.size_bytes, "sha256": stored.sha256}]
        await self.storage.put(f"{task.prefix}/manifest.json", json.dumps({"files": files}).encode())
        evaluation = await self.resources.get(task.target)
        evaluation.kinds.extend(summarize(rows))
        evaluation.cost.CopyFrom(run.cost)
        evaluation.probe_count = len(rows)
        evaluation.reused_probe_count = run.reused_count
        evaluation.probes_sha256 = run.found.probes.sha256
        evaluation.model_sha256 = run.found.model.sha256
        evaluation.results_uri = stored.uri
        evaluation.environment.CopyFrom(run.engine.environment)
        evaluation.contexts.update(run.contexts)
        if evaluation.HasField("judge"):
            evaluation.judge.model_sha256 = run.found.judge_sha256
            evaluation.judge_cost.CopyFrom(run.judge_cost)
        return evaluation

    async def results(self, name: str) -> list[dict[str, Any]]:
        evaluation = await self.resources.get(name)
        if evaluation.state != common_pb2.ACTIVE:
            raise WrongState("EVALUATION_NOT_ACTIVE", f"{name} has no results (yet)")
        content = await self.storage.get(self.storage.key(evaluation.results_uri))
        return [json.loads(line) for line in content.splitlines()]


@dataclass
class _Run:
    """One attempt: what it works with, and what it has so far.

    Reused answers count with the cost that they had then, so that evaluations can be compared by cost; `asking_s` is
    the time that this attempt took for asking, and in `cost` as part of the entries.
    """

    target: str
    client: AsyncClient
    given: pb.Evaluation
    found: Inputs
    documents: Documents
    engine: inference_pb2.Engine
    answers: Answers
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    contexts: dict[str, str] = field(default_factory=dict)
    cost: common_pb2.Cost = field(default_factory=common_pb2.Cost)
    judge_cost: common_pb2.Cost = field(default_factory=common_pb2.Cost)
    reused_count: int = 0
    asking_s: float = 0.0
    _ready: dict[str, str] = field(default_factory=dict)  # contexts by group, made or found by this attempt

    async def answer(self, batch: Sequence[Probe], group: str) -> None:
        """Rows of the batch, all asked with the group's context."""
        depends_on = ["subject", self.found.model_key, self._context_key(group), asked_of(batch)]
        entry = await self._once(depends_on, partial(self._ask, batch, group), self.cost)
        self.reused_count += len(batch) * (entry["evaluation"] != self.target)
        if entry["context"]:
            self.contexts.setdefault(group, entry["context"])
        partly = self.given.subject.context.HasField("subset")
        for probe, answer in zip(batch, entry["answers"], strict=True):
            row = row_of(probe, answer, self.given.cluster_key)
            if partly and probe.sources:
                row["supported"] = self.documents.support(group, probe.sources)
            self.rows[probe.id] = row
        if self.given.HasField("judge") and batch[0].is_written:
            await self._judge(batch)

    async def _judge(self, batch: Sequence[Probe]) -> None:
        rubric, model = self.given.judge.rubric, self.given.judge.model
        prompts = [prompt_of(rubric, probe, self.rows[probe.id]["answer"]) for probe in batch]
        depends_on = ["judge", self.found.judge_sha256, prompts]
        entry = await self._once(
            depends_on, partial(judge, self.client, model, prompts, batch), self.judge_cost
        )
        for probe, prompt, sums in zip(batch, prompts, entry["answers"], strict=True):
            self.rows[probe.id] = judged(self.rows[probe.id], prompt, sums)

    async def _once(
        self, depends_on: list[Any], make: Callable[[], Awaitable[Entry]], cost: common_pb2.Cost
    ) -> Entry:
        """The entry, made here or before, with what it took then added to `cost`."""
        where = self.engine.environment
        computed = [where.device, where.dtype, dict(where.versions)]

        async def timed() -> Entry:
            before = time.monotonic()
            entry = await make()
            return entry | {"wall_seconds": time.monotonic() - before, "evaluation": self.target}

        before = time.monotonic()
        entry = await self.answers.once([computed, *depends_on], timed)
        self.asking_s += time.monotonic() - before
        fresh, cached, generated, flops, compute_s = entry["usage"]
        cost.prompt_token_count += int(fresh)
        cost.cached_token_count += int(cached)
        cost.generated_token_count += int(generated)
        cost.flops += flops
        cost.compute_seconds += compute_s
        cost.wall_seconds += entry["wall_seconds"]
        return entry

    async def _ask(self, batch: Sequence[Probe], group: str) -> Entry:
        subject = self.given.subject
        if subject.HasField("context") and group not in self._ready:
            digests = f"{self.found.model.sha256} {self.found.documents_sha256}"
            wanted = context_of(subject, group)
            self._ready[group] = await ensure_context(self.client, wanted, "documents", digests)
        context = self._ready.get(group, "")
        return await ask(self.client, subject.model, context, batch) | {"context": context}

    def _context_key(self, group: str) -> list[str]:
        """Of what is read before a question: the group's texts, or what is searched and how."""
        if not self.given.subject.HasField("context"):
            return []
        known = self.documents.groups.get(group)
        retrieval = self.given.subject.context.retrieval.SerializeToString(deterministic=True)
        return [known.sha256 if known else "", retrieval.hex()]
