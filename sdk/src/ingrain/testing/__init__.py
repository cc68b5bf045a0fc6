"""A platform for tests: all services in memory, a fake model that answers by shared words, up in milliseconds.

    with FakePlatform() as platform, Client(platform.target) as client:
        ...

It runs in threads, so that it serves plain and asynchronous tests alike. `python -m ingrain.testing --port 7070`
runs it alone.
"""

from concurrent import futures
from typing import Any

import grpc
from google.longrunning import operations_pb2_grpc

from ingrain.testing import aliases, batches, inference, library, measuring, models, probes, services, studies
from ingrain.testing.store import Refused, StatusOf, Store
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
    """`api_key`: the only one that is let in, where given. `step_s`: how long a step of long work takes.
    `prices`: what GetPriceTable answers; set its fields."""

    def __init__(self, port: int = 0, api_key: str = "", step_s: float = 0.01) -> None:
        self.store = Store(step_s)
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
        self._server = grpc.server(pool, interceptors=[_Guard(self._api_key)])
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
        projects_pb2_grpc.add_ProjectsServicer_to_server(measuring.Projects(), server)
        projects_pb2_grpc.add_KeysServicer_to_server(measuring.Keys(store), server)
        operations_pb2_grpc.add_OperationsServicer_to_server(services.Operations(store), server)

    def __enter__(self) -> "FakePlatform":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Guard(grpc.ServerInterceptor):
    """Lets in who has the key, and turns Refused into a status with details."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        sent = dict(details.invocation_metadata).get("authorization")
        allowed = not self._api_key or sent == f"Bearer {self._api_key}"
        kind = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        method = getattr(handler, kind)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                if not allowed:
                    raise Refused("UNAUTHENTICATED", "API_KEY_WRONG", "the API key is missing or wrong")
                return method(request, context)
            except Refused as refused:
                context.abort_with_status(StatusOf(refused.status))

        def stream(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                if not allowed:
                    raise Refused("UNAUTHENTICATED", "API_KEY_WRONG", "the API key is missing or wrong")
                yield from method(request, context)
            except Refused as refused:
                context.abort_with_status(StatusOf(refused.status))

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(
            stream if handler.response_streaming else unary,
            handler.request_deserializer,
            handler.response_serializer,
        )
