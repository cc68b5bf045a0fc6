"""One HTTP call's way to the services behind the gateway."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from ingrain import errors as sdk_errors
from ingrain import uploading
from servicekit.errors import Exhausted
from servicekit.identity import Caller
from services.gateway import routes
from services.gateway.callers import permit
from services.gateway.http.errors import TOO_LARGE
from services.gateway.proxy import Proxy, unreachable

Answer = TypeVar("Answer", bound=Message)
GREATEST_REQUEST_BYTES = (4 << 20) - 1024  # gRPC's default, less what the frame takes
INFERENCE = "/ingrain.v1.Inference"


@dataclass(frozen=True)
class Asked:
    """Calls on behalf of `caller`, in the project `parent`, until `deadline` of the monotonic clock. Errors arrive as
    `ingrain.errors`; who stops waiting ends the call behind."""

    proxy: Proxy
    caller: Caller
    parent: str
    metadata: tuple[tuple[str, str], ...]
    deadline: float

    async def unary(self, path: str, request: Message, answer: type[Answer]) -> Answer:
        backend = self._backend(path, request)
        call = self.proxy.channel(backend).unary_unary(
            path, request_serializer=_bytes_of, response_deserializer=answer.FromString
        )
        try:
            found: Answer = await call(request, timeout=self._left_s(), metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            raise translated(error, backend) from None
        return found

    async def stream(self, path: str, request: Message, answer: type[Answer]) -> AsyncGenerator[Answer]:
        backend = self._backend(path, request)
        make = self.proxy.channel(backend).unary_stream(
            path, request_serializer=_bytes_of, response_deserializer=answer.FromString
        )
        call = make(request, timeout=self._left_s(), metadata=self.metadata)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise translated(error, backend) from None
        finally:
            call.cancel()

    async def upload(self, path: str, requests: AsyncGenerator[Message], answer: type[Answer]) -> Answer:
        """What drawing `requests` raises ends the call, and nothing is kept."""
        method = routes.find(path)
        permit(self.caller, method)
        broken: list[Exception] = []

        async def drawn() -> AsyncGenerator[Message]:
            # Raised in gRPC's thread it would be logged with all that it says.
            try:
                async for message in requests:
                    yield message
            except Exception as error:
                broken.append(error)
                sending.cancel()
                await asyncio.Event().wait()

        sending = asyncio.ensure_future(
            uploading.stream_unary(
                self.proxy.upload_channel(method.backend),
                path,
                drawn(),
                request_serializer=_bytes_of,
                response_deserializer=answer.FromString,
                timeout=self._left_s(),
                metadata=self.metadata,
            )
        )
        try:
            found: Answer = await sending
        except asyncio.CancelledError:
            if broken:
                raise broken[0] from None
            raise
        except grpc.RpcError as error:
            raise translated(error, method.backend) from None
        return found

    async def pages(self, path: str, request: Any, answer: type[Answer], field: str) -> AsyncIterator[Any]:
        """The things of all pages, in order."""
        request.page_size = 1000
        while True:
            page: Any = await self.unary(path, request, answer)
            for thing in getattr(page, field):
                yield thing
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _backend(self, path: str, request: Message) -> str:
        method = routes.find(path)
        permit(self.caller, method)
        size = request.ByteSize()
        if size > GREATEST_REQUEST_BYTES:
            raise Exhausted(
                TOO_LARGE,
                f"the request has {size} bytes and {GREATEST_REQUEST_BYTES} fit; send fewer prompts at once, and long "
                "documents as a dataset",
                size_bytes=size,
                limit_bytes=GREATEST_REQUEST_BYTES,
            )
        return routes.backend_of(method, request.SerializeToString() if not method.backend else None)

    def _left_s(self) -> float:
        return max(0.001, self.deadline - time.monotonic())


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()


def translated(error: Any, backend: str) -> Exception:
    trailers: Mapping[str, Any] = dict(error.trailing_metadata() or ())
    if error.code() == grpc.StatusCode.UNAVAILABLE and sdk_errors.DETAILS_KEY not in trailers:
        return unreachable(backend)
    return sdk_errors.from_rpc_error(error, target=backend)
