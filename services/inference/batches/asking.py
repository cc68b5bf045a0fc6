"""A call to the door as any caller makes it, until every row of it has an answer or an error."""

import asyncio
import random
import re
import time
from typing import Any, Protocol

from ingrain import errors as sdk_errors
from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Exhausted, Invalid, Unavailable
from services.inference.batches.calls import Call, Target, answers_of, request_of
from services.inference.batches.rows import Answer, answer_of, error_row

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
PATIENCE_S = 600.0  # without any answer to anybody of the batch
# What is wrong with these is wrong with every row.
WHOLE = re.compile(r"^(parent|model|context)\b")
_INDEX = re.compile(r"^(?:prompts|inputs|items)\[(\d+)\]")


class Door(Protocol):
    """The Inference service in this process: names, contexts and refusals are those of every other caller."""

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse: ...

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse: ...

    async def CountTokens(self, request: pb.CountTokensRequest, context: Any) -> pb.CountTokensResponse: ...


class Asking:
    """Of one attempt at a batch."""

    def __init__(self, door: Door, target: Target, patience_s: float = PATIENCE_S) -> None:
        self._door = door
        self._target = target
        self._patience_s = patience_s
        self._answered_s = time.monotonic()

    async def answers(self, call: Call, usage: pb.Usage) -> list[Answer]:
        """An answer or an error for each row; what they took is added to `usage`. Raises what concerns all rows."""
        try:
            response = await self._patiently(call)
        except (Invalid, sdk_errors.Invalid) as error:
            return await self._around(call, error, usage)
        for field in pb.Usage.DESCRIPTOR.fields:
            setattr(usage, field.name, getattr(usage, field.name) + getattr(response.usage, field.name))
        return answers_of(call, response)

    async def _around(self, call: Call, error: Invalid | sdk_errors.Invalid, usage: pb.Usage) -> list[Answer]:
        """The row that is wrong gets the error, and the others are asked without it."""
        field = field_of(error)
        if WHOLE.match(field):
            raise error
        index = index_of(field, len(call.rows))
        if index is None:
            both = call.halves()
            return [answer for half in both for answer in await self.answers(half, usage)]
        wrong, said = call.rows[index], error.message
        if field:  # its place in this call is nobody's business
            said = said.replace(field, "the row")
        answers = [answer_of(wrong.number, error_row(wrong.id, error.reason, said))]
        rest = call.without(index)
        for half in rest.halves():  # where one is wrong more may be
            if half.rows:
                answers += await self.answers(half, usage)
        return answers

    async def _patiently(self, call: Call) -> pb.GenerateResponse | pb.ScoreResponse:
        """Waits while the engine is full or away, as long as it asks for and ever longer."""
        request, backoff_s = request_of(call, self._target), FIRST_WAIT_S
        ask = self._door.Score if isinstance(request, pb.ScoreRequest) else self._door.Generate
        while True:
            try:
                response: pb.GenerateResponse | pb.ScoreResponse = await ask(request, None)  # type: ignore[arg-type]
            except Exception as error:
                if not passes(error) or time.monotonic() - self._answered_s > self._patience_s:
                    raise
                asked_s = min(LONGEST_WAIT_S, getattr(error, "retry_after_s", 0.0) or 0.0)
                await asyncio.sleep(max(asked_s, backoff_s * random.uniform(0.5, 1.0)))
                backoff_s = min(2 * backoff_s, LONGEST_WAIT_S)
                continue
            self._answered_s = time.monotonic()
            return response


def passes(error: Exception) -> bool:
    """Whether it is worth to ask again later."""
    if isinstance(error, Unavailable | sdk_errors.Unavailable | sdk_errors.DeadlineExceeded):
        return True
    return isinstance(error, Exhausted | sdk_errors.Exhausted) and bool(error.retry_after_s)


def field_of(error: Invalid | sdk_errors.Invalid) -> str:
    if isinstance(error, Invalid):
        return error.field
    return error.field_violations[0].field if error.field_violations else ""


def index_of(field: str, count: int) -> int | None:
    """Which of the rows an error is about: the only one, the one that it names, or None."""
    if count == 1:
        return 0
    found = _INDEX.match(field)
    return int(found[1]) if found and int(found[1]) < count else None
