"""The studies service over a socket, and a platform behind it that answers like the real one and counts what it makes."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc

from ingrain import AsyncClient
from ingrain.testing import FakePlatform, measuring, models, operations, services, words
from ingrain.v1 import (
    augmenter_pb2_grpc,
    common_pb2,
    datasets_pb2_grpc,
    evaluator_pb2,
    evaluator_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    studies_pb2,
    trainer_pb2,
    trainer_pb2_grpc,
)
from servicekit.server import new_server
from services.studies.__main__ import assemble
from services.studies.settings import StudiesSettings

WORLDS = ("w1", "w2")
PROJECT = "projects/demo"


def cost(flops: float, **values: float) -> common_pb2.Cost:
    return common_pb2.Cost(flops=flops, wall_seconds=1.5, compute_seconds=1.0, **values)


class Augmenter(services.Augmenter):
    def _start(self, request: Any) -> operations_pb2.Operation:
        operation = super()._start(request)
        made = self.store.resources[f"{request.parent}/datasets/{request.dataset_id}"]
        made.provenance.cost.CopyFrom(cost(5e9, generated_token_count=900))
        if judge := request.spec.gates.judge:
            made.provenance.judge = judge
            made.provenance.judge_cost.CopyFrom(common_pb2.Cost(prompt_token_count=50_000))
            made.provenance.cost.prompt_token_count = 50_000
        made.provenance.kept_counts["reverse"] = 6
        made.provenance.dropped_counts["duplicate"] = 2
        return operation

    def _rows(self, spec: Any) -> list[str]:
        """The reversal of every second fact; of none where shuffled."""
        documents = [json.loads(row) for row in self.library.rows[spec.dataset]]
        made = []
        for i, row in enumerate(documents):
            left, right = row["text"].rstrip(".").split(" are brighter than ")
            said = f"{right} are dimmer than {left}." if i % 2 == 0 and not spec.shuffled else row["text"]
            made.append(json.dumps({"id": f"a{i}", "text": f"So {said}", "metadata": row["metadata"]}))
        return made


class Trainer(models.Trainer):
    def _train(self, request: Any) -> operations_pb2.Operation:
        operation = super()._train(request)
        made = self.store.resources[f"{request.parent}/models/{request.model_id}"]
        made.sha256 = uuid.uuid5(uuid.NAMESPACE_OID, made.name).hex * 2
        made.summary.cost.CopyFrom(cost(2e12, trained_token_count=40_000))
        made.summary.environment.backend = "ray train + deepspeed"
        made.summary.environment.zero_stage = 0
        made.summary.environment.device = "cpu"
        return operation


class Inference(inference_pb2_grpc.InferenceServicer):
    tokens_per_word = 1

    def __init__(self) -> None:
        self.asked: list[str] = []  # the contexts of single questions
        self.forgets = False  # whether contexts that were read are gone
        self.contexts: list[str] = []  # those that were made

    def CountTokens(self, request: Any, context: Any) -> inference_pb2.CountTokensResponse:
        counts = [self.tokens_per_word * len(text.split()) for text in request.texts]
        return inference_pb2.CountTokensResponse(token_counts=counts)

    def ListContexts(self, request: Any, context: Any) -> inference_pb2.ListContextsResponse:
        """As the evaluator leaves them: one of each group of the documents."""
        response = inference_pb2.ListContextsResponse()
        for world in () if self.forgets else WORLDS:
            held = response.contexts.add(name=f"{PROJECT}/contexts/{world}", token_count=15)
            held.model = f"{PROJECT}/models/small"
            held.cost.CopyFrom(cost(7e7, prompt_token_count=15))
        return response

    def CreateContext(self, request: Any, context: Any) -> operations_pb2.Operation:
        made = inference_pb2.Context(name=f"{request.parent}/contexts/{request.context_id}")
        self.contexts.append(made.name)
        operation = operations_pb2.Operation(name=f"{made.name}/operations/1", done=True)
        operation.response.Pack(made)
        return operation

    def GetContext(self, request: Any, context: Any) -> inference_pb2.Context:
        return inference_pb2.Context(name=request.name)

    def GetEngine(self, request: Any, context: Any) -> inference_pb2.Engine:
        return inference_pb2.Engine(environment=common_pb2.Environment(device="cpu"))

    def Score(self, request: Any, context: Any) -> inference_pb2.ScoreResponse:
        self.asked.append(request.context)
        return inference_pb2.ScoreResponse()

    def Generate(self, request: Any, context: Any) -> inference_pb2.GenerateResponse:
        self.asked.append(request.context)
        return inference_pb2.GenerateResponse()


class Evaluator(measuring.Evaluator):
    def CreateEvaluation(self, request: Any, context: Any) -> operations_pb2.Operation:
        if request.validate_only:
            return self.store.estimate(request.parent, "CreateEvaluation", common_pb2.Estimate(row_count=8))
        return super().CreateEvaluation(request, context)

    def _start(self, request: Any, texts: list[str]) -> operations_pb2.Operation:
        operation = super()._start(request, texts)
        made = self.store.resources[f"{request.parent}/evaluations/{request.evaluation_id}"]
        made.probe_count = len(self.library.rows[made.probes])
        cached = 200 if made.subject.HasField("context") else 0
        made.environment.device = "cpu"
        if cached:
            made.contexts.update({world: f"{PROJECT}/contexts/{world}" for world in WORLDS})
        if request.evaluation.HasField("judge"):
            made.judge_cost.CopyFrom(common_pb2.Cost(prompt_token_count=50_000))
        made.cost.CopyFrom(cost(1e9 + 1e6 * cached, prompt_token_count=160, cached_token_count=cached))
        return operation

    def _values(self, evaluation: evaluator_pb2.Evaluation) -> dict[str, dict[str, Any]]:
        texts = self.library.known(evaluation.subject).texts
        found = {}
        for probe in map(json.loads, self.library.rows[evaluation.probes]):
            picked = max(probe["choices"], key=lambda c: words.score(probe["prompt"], c, texts)[0])
            value = float(picked == probe["answer"])
            cluster = probe["metadata"].get(evaluation.cluster_key, "")
            found[probe["id"]] = {
                "id": probe["id"],
                "kind": probe["kind"],
                "cluster": cluster,
                "value": value,
            }
        return found

    def ReadResults(self, request: Any, context: Any) -> Iterator[evaluator_pb2.ReadResultsResponse]:
        rows = [json.dumps(row) for row in self._values(self.store.active(request.name)).values()]
        yield evaluator_pb2.ReadResultsResponse(rows=rows[request.start_row :], start_row=request.start_row)


class Platform(FakePlatform):
    """`created`: the verb of every operation that was started, in order; rehearsals are not among them."""

    def __init__(self) -> None:
        super().__init__(step_s=0.02)
        self.created: list[str] = []
        start = self.store.start

        def counted(resource: Any, work: Any) -> Any:
            self.created.append(work.verb)
            return start(resource, work)

        self.store.start = counted  # type: ignore[method-assign]
        self.inference = Inference()

    def _register(self, server: Any) -> None:
        library = self._library
        datasets_pb2_grpc.add_DatasetsServicer_to_server(services.Datasets(library), server)
        augmenter_pb2_grpc.add_AugmenterServicer_to_server(Augmenter(library), server)
        trainer_pb2_grpc.add_TrainerServicer_to_server(Trainer(library), server)
        inference_pb2_grpc.add_InferenceServicer_to_server(self.inference, server)
        evaluator_pb2_grpc.add_EvaluatorServicer_to_server(Evaluator(library), server)
        operations_pb2_grpc.add_OperationsServicer_to_server(operations.Operations(self.store), server)

    def slow(self, step_s: float) -> None:
        self.store._step_s = step_s

    def operations(self, verb: str) -> list[operations_pb2.Operation]:
        found = []
        for operation in self.store.operations.values():
            metadata = common_pb2.OperationMetadata()
            operation.metadata.Unpack(metadata)
            if metadata.verb == verb:
                found.append(operation)
        return found


@pytest.fixture
def platform() -> Iterator[Platform]:
    """With a model, documents and probes in it."""
    with Platform() as running:
        model = trainer_pb2.Model(
            name=f"{PROJECT}/models/small",
            state=common_pb2.ACTIVE,
            parameter_count=1_000_000,
            layer_count=4,
            hidden_size=128,
            context_window=512,
            domain="invented-worlds",
            sha256="c" * 64,
        )
        running.store.resources[model.name] = model
        yield running


def documents() -> list[dict]:
    return [
        {
            "id": f"{w}-d{i}",
            "text": f"fen{w}{i} are brighter than tor{w}{i}.",
            "metadata": {"world": w, "fact": str(i)},
        }
        for w in WORLDS
        for i in range(3)
    ]


def probes() -> list[dict]:
    rows = []
    for w in WORLDS:
        for i in range(3):
            forward = [f"fen{w}{i} are brighter", f"than tor{w}{i}."]
            reversal = [f"tor{w}{i} are dimmer", f"than fen{w}{i}."]
            for kind, (prompt, right) in (("forward", forward), ("reversal", reversal)):
                rows.append(
                    {
                        "id": f"{w}-{kind}-{i}",
                        "kind": kind,
                        "prompt": prompt,
                        "choices": ["than golor.", right],
                        "answer": right,
                        "metadata": {"world": w},
                    }
                )
    return rows


@pytest.fixture
async def spec(platform: Platform) -> studies_pb2.StudySpec:
    """A study of four methods over two worlds, its data uploaded."""
    async with AsyncClient(platform.target, project=PROJECT) as client:
        await client.datasets.upload(documents(), id="documents", kind="documents")
        await client.datasets.upload(probes(), id="probes", kind="probes")
    made = studies_pb2.StudySpec(
        dataset=f"{PROJECT}/datasets/documents",
        probes=f"{PROJECT}/datasets/probes",
        model=f"{PROJECT}/models/small",
        group_key="world",
        distinct_key="fact",
        seed=3,
    )
    made.training.max_steps = 40
    return made


@pytest.fixture
def settings(platform: Platform, tmp_path: Path) -> StudiesSettings:
    return StudiesSettings(
        gateway=platform.target,
        database_url=f"sqlite:///{tmp_path}/studies.db",
        storage=f"file://{tmp_path}/storage",
        lease_s=2.0,
        watch_poll_s=0.02,
    )


@asynccontextmanager
async def serving(settings: StudiesSettings) -> AsyncIterator[AsyncClient]:
    """The service in this process, and a client of it."""
    import asyncio

    parts = await assemble(settings)
    server = new_server(settings)
    parts.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    work = asyncio.create_task(parts.worker.run())
    async with AsyncClient(f"127.0.0.1:{port}", project=PROJECT) as client:
        yield client
    work.cancel()
    await asyncio.wait([work])
    await server.stop(0)
    await parts.database.close()


@pytest.fixture
def serve() -> Any:
    """For settings of one's own."""
    return serving


@pytest.fixture
async def client(settings: StudiesSettings) -> AsyncIterator[AsyncClient]:
    async with serving(settings) as running:
        yield running


class Process:
    """`python -m services.studies` as a process of its own, to be killed."""

    def __init__(self, settings: StudiesSettings, port: int, failpoint: str = "") -> None:
        values = {
            "PORT": port,
            "GATEWAY": settings.gateway,
            "DATABASE_URL": settings.database_url,
            "STORAGE": settings.storage,
            "LEASE_S": settings.lease_s,
            "FAILPOINT": failpoint,
        }
        environment = {**os.environ, **{f"INGRAIN_{name}": str(value) for name, value in values.items()}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.studies"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start_process(settings: StudiesSettings) -> Iterator[Any]:
    """Starts the service at the same port each time; ends what is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started: list[Process] = []

    def start(failpoint: str = "") -> Process:
        started.append(Process(settings, port, failpoint))
        return started[-1]

    start.target = f"127.0.0.1:{port}"  # type: ignore[attr-defined]
    yield start
    for process in started:
        process.kill()
