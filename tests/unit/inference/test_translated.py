"""What Ray says of its troubles, as callers hear it."""

import grpc
import pytest
from ray.exceptions import ActorUnavailableError, RaySystemError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from servicekit.errors import Exhausted, Unavailable
from services.inference import serveproxy
from services.inference.rayserve import translated


def broken(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


def test_a_full_queue_is_to_be_asked_again() -> None:
    found = translated(BackPressureError(num_queued_requests=256, max_queued_requests=256))
    assert isinstance(found, Exhausted)
    assert (found.reason, found.retry_after_s) == ("ENGINE_BUSY", 1.0)


@pytest.mark.parametrize(
    "error",
    [
        ActorUnavailableError("gone", b"0" * 16),
        RaySystemError("no head"),
        DeploymentUnavailableError.__new__(DeploymentUnavailableError),
        TimeoutError(),
        broken(grpc.StatusCode.CANCELLED),
        broken(grpc.StatusCode.UNAVAILABLE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_replica_that_went_away_is_being_replaced(error: Exception) -> None:
    found = translated(error)
    assert isinstance(found, Unavailable)
    assert (found.reason, found.retry_after_s) == ("ENGINE_RESTARTING", 2.0)


@pytest.mark.parametrize("error", [ValueError("a bug"), broken(grpc.StatusCode.INTERNAL)])
def test_everything_else_stays_what_it_is(error: Exception) -> None:
    assert translated(error) is error


@pytest.mark.parametrize("words", ["The actor died unexpectedly", "The actor is temporarily unavailable"])
def test_a_replica_that_died_under_a_call_by_the_proxy_is_lost(words: str) -> None:
    code, nothing = grpc.StatusCode.INTERNAL, grpc.aio.Metadata()
    found = serveproxy.translated(grpc.aio.AioRpcError(code, nothing, nothing, details=words))
    assert isinstance(found, Unavailable)
    bug = grpc.aio.AioRpcError(code, nothing, nothing, details="KeyError: 'x'")
    assert serveproxy.translated(bug) is bug
