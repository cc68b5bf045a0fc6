"""Documents in a model's context, read once for whoever asks for the same."""

import hashlib
import uuid

import grpc

from ingrain import AsyncClient
from ingrain.errors import AlreadyExists, NotFound, OperationFailed
from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Unavailable

# What ended a context's making and may go well another time.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
}
MOST_TRIES = 8


async def ensure_context(client: AsyncClient, wanted: pb.Context, title: str, content: str) -> str:
    """The name of an ACTIVE context, `{title}-{digest}`: of `wanted` and of the digests of what it names, `content`.

    Names are never given twice, so that one that was deleted or could not be made is followed by `-1`, `-2` and so on. Those
    that failed before are passed over; Unavailable where as many as `MOST_TRIES` fail now.
    """
    first = context_name(client, title, wanted, content)
    tries = number = 0
    while tries < MOST_TRIES:
        name = first + (f"-{number}" if number else "")
        there, tried = await _made(client, wanted, name)
        if there:
            return name
        number, tries = number + 1, tries + tried
    raise Unavailable("NO_CONTEXT", f"the context of {wanted.dataset} could not be made", 30.0)


def context_name(client: AsyncClient, title: str, wanted: pb.Context, content: str) -> str:
    """The first of its names."""
    identity = hashlib.sha256(wanted.SerializeToString(deterministic=True) + content.encode()).hexdigest()
    return f"{client.parent}/contexts/{title}-{identity[:16]}"


async def _made(client: AsyncClient, wanted: pb.Context, name: str) -> tuple[bool, bool]:
    """Makes it or finds it; whether it is there, and whether it was tried now."""
    request = pb.CreateContextRequest(
        parent=client.parent,
        context_id=name.rpartition("/")[2],
        context=wanted,
        request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
    )
    tried = False
    try:
        operation = await client.stubs.inference.CreateContext(request)
        tried = not operation.done
        await client.operations.wait(operation)
    except AlreadyExists:  # made before, and its operation forgotten
        pass
    except OperationFailed as error:
        if error.code not in PASSING:
            raise
        return False, tried
    try:
        await client.stubs.inference.GetContext(pb.GetContextRequest(name=name))
    except NotFound:
        return False, tried
    return True, tried
