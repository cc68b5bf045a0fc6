"""AsyncClient: everything the platform does, for asyncio."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from google.longrunning import operations_pb2_grpc

from ingrain.aliases import AsyncAliases
from ingrain.batches import AsyncBatches
from ingrain.channel import Channel, Metadata
from ingrain.credentials import credential
from ingrain.datasets import AsyncDatasets
from ingrain.evaluations import AsyncEvaluations
from ingrain.inference import AsyncContexts, InferenceMethods
from ingrain.keys import AsyncKeys, AsyncProjects
from ingrain.lineage import AsyncLineage
from ingrain.models import AsyncModels
from ingrain.names import project_name
from ingrain.operation import AsyncOperations
from ingrain.studies import AsyncStudies
from ingrain.tls import TLS
from ingrain.v1 import (
    aliases_pb2_grpc,
    augmenter_pb2_grpc,
    batches_pb2_grpc,
    datasets_pb2_grpc,
    evaluator_pb2_grpc,
    inference_pb2_grpc,
    projects_pb2_grpc,
    studies_pb2_grpc,
    trainer_pb2_grpc,
)

DEFAULT_TARGET = "localhost:7070"


class Stubs:
    """The generated stubs, one per service; they raise `ingrain.errors`."""

    def __init__(self, channel: Any) -> None:
        self.datasets = datasets_pb2_grpc.DatasetsStub(channel)
        self.augmenter = augmenter_pb2_grpc.AugmenterStub(channel)
        self.trainer = trainer_pb2_grpc.TrainerStub(channel)
        self.inference = inference_pb2_grpc.InferenceStub(channel)
        self.batches = batches_pb2_grpc.BatchesStub(channel)
        self.evaluator = evaluator_pb2_grpc.EvaluatorStub(channel)
        self.studies = studies_pb2_grpc.StudiesStub(channel)
        self.aliases = aliases_pb2_grpc.AliasesStub(channel)
        self.projects = projects_pb2_grpc.ProjectsStub(channel)
        self.keys = projects_pb2_grpc.KeysStub(channel)
        self.operations = operations_pb2_grpc.OperationsStub(channel)


class AsyncClient(InferenceMethods):
    """A connection to the platform, for one project.

    Arguments that are None come from INGRAIN_TARGET, INGRAIN_PROJECT and INGRAIN_API_KEY, or the file INGRAIN_KEY_FILE,
    which is read again when it changed. `metadata` goes
    with every call; `timeout_s` is the deadline of calls that have none of their own (streams have none).
    `tls` is the file of the gateway's authority (None: INGRAIN_TLS_CA, without TLS where that is empty), True for
    the system's roots, False for none.
    Opens its connection at the first call and belongs to the event loop of that call.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        project: str | None = None,
        api_key: str | None = None,
        metadata: Metadata = (),
        timeout_s: float | None = 60,
        tls: TLS | bool | str | Path | None = None,
    ) -> None:
        self.target = target or os.environ.get("INGRAIN_TARGET") or DEFAULT_TARGET
        self.parent = project_name(project or os.environ.get("INGRAIN_PROJECT") or "default")
        self._channel = Channel(self.target, metadata, timeout_s, tls, credential(api_key))
        self.stubs = Stubs(self._channel)

    @cached_property
    def operations(self) -> AsyncOperations:
        return AsyncOperations(self)

    @cached_property
    def datasets(self) -> AsyncDatasets:
        return AsyncDatasets(self)

    @cached_property
    def models(self) -> AsyncModels:
        return AsyncModels(self)

    @cached_property
    def contexts(self) -> AsyncContexts:
        return AsyncContexts(self)

    @cached_property
    def batches(self) -> AsyncBatches:
        return AsyncBatches(self)

    @cached_property
    def evaluations(self) -> AsyncEvaluations:
        return AsyncEvaluations(self)

    @cached_property
    def studies(self) -> AsyncStudies:
        return AsyncStudies(self)

    @cached_property
    def lineage(self) -> AsyncLineage:
        return AsyncLineage(self)

    @cached_property
    def aliases(self) -> AsyncAliases:
        return AsyncAliases(self)

    @cached_property
    def projects(self) -> AsyncProjects:
        return AsyncProjects(self)

    @cached_property
    def keys(self) -> AsyncKeys:
        return AsyncKeys(self)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target} {self.parent}>"
