"""Ray or Kubernetes asked about a training's job, while either may be away for as long as an upgrade takes."""

from collections.abc import Awaitable
from typing import TypeVar

from servicekit.errors import Unavailable
from servicekit.worker import Deferred, Task

T = TypeVar("T")
AWAY = ("RAY_UNREACHABLE", "KUBERNETES_UNREACHABLE")
AGAIN_SECONDS = 5.0  # until it is asked again


async def asked(task: Task, answer: Awaitable[T], *, refusal_is_outage: bool = False) -> T:
    """The answer. Deferred while who is asked is away: it comes back with the job or without it, and waiting for it costs no attempt. A
    refusal is an answer, unless told otherwise. While the task is being stopped nobody would ask again: Unavailable then."""
    try:
        return await answer
    except Unavailable as error:
        if task.stopping or not (refusal_is_outage or error.reason in AWAY):
            raise
        await task.progress("starting", message=error.message)
        raise Deferred(AGAIN_SECONDS) from error
