"""A platform for tests: all services in memory, a fake model that answers by shared words, up in milliseconds.

    with FakePlatform() as platform, Client(platform.target) as client:
        ...

It runs in threads, so that it serves plain and asynchronous tests alike. `python -m ingrain.testing --port 7070`
runs it alone.
"""

from concurrent import futures

import grpc
from google.longrunning import operations_pb2_grpc

from ingrain.testing import (
    aliases,
    batches,
    inference,
    library,
    models,
    operations,
    probes,
    projects,
    services,
    studies,
)
from ingrain.testing.guard import Guard, Health
from ingrain.testing.store import Refused, Store
from ingrain.v1 import (
    aliases_pb2_grpc,
    augmenter_pb2_grpc,
    batches_pb2_grpc,
    datasets_pb2_grpc,
    evaluator_pb2_grpc,
    inference_pb2_grpc,
    projects_pb2_grpc,
    studies_pb2,
    studies_pb2_grpc,
    trainer_pb2_grpc,
)


class FakePlatform:
    """`api_key`: the operator's, without which nobody is let in but by keys that were made with it; empty: everybody is.
    `step_s`: how long a step of long work takes. `heartbeat_s`: after so long without news a watcher is told that the
    stream lives. `prices`: what GetPriceTable answers; set its fields."""

    def __init__(
        self, port: int = 0, api_key: str = "", step_s: float = 0.01, heartbeat_s: float = 15.0
    ) -> None:
        self.store = Store(step_s, heartbeat_s)
        self.prices = studies_pb2.PriceTable()
        self._library = library.Library(self.store)
        self._api_key = api_key
        self._port = port
        self._server: grpc.Server | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    def fail_next(self, verb: str, code: str, reason: str, message: str) -> None:
        """The next operation of `verb` (e.g. `CreateModel`) ends in this error."""
        self.store.failures[verb] = Refused(code, reason, message)

    def start(self) -> "FakePlatform":
        """Listens; after `stop` again at the same port, with everything still there."""
        pool = futures.ThreadPoolExecutor(32, thread_name_prefix="fake-platform")
        self._server = grpc.server(pool, interceptors=[Guard(self.store, self._api_key)])
        self._register(self._server)
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(grace=0).wait()
            self._server = None

    def wait(self) -> None:
        if self._server is not None:
            self._server.wait_for_termination()

    def _register(self, server: grpc.Server) -> None:
        library, store = self._library, self.store
        datasets_pb2_grpc.add_DatasetsServicer_to_server(services.Datasets(library), server)
        augmenter_pb2_grpc.add_AugmenterServicer_to_server(services.Augmenter(library), server)
        trainer_pb2_grpc.add_TrainerServicer_to_server(models.Trainer(library), server)
        inference_pb2_grpc.add_InferenceServicer_to_server(inference.Inference(library), server)
        batches_pb2_grpc.add_BatchesServicer_to_server(batches.Batches(library), server)
        evaluator_pb2_grpc.add_EvaluatorServicer_to_server(probes.WritingEvaluator(library), server)
        aliases_pb2_grpc.add_AliasesServicer_to_server(aliases.Aliases(library), server)
        studies_pb2_grpc.add_StudiesServicer_to_server(studies.Studies(library, self.prices), server)
        projects_pb2_grpc.add_ProjectsServicer_to_server(projects.Projects(store), server)
        projects_pb2_grpc.add_KeysServicer_to_server(projects.Keys(store), server)
        server.add_generic_rpc_handlers((Health(),))
        operations_pb2_grpc.add_OperationsServicer_to_server(operations.Operations(store), server)

    def __enter__(self) -> "FakePlatform":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
