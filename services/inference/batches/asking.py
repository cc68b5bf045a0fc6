"""A call to the door as any caller makes it, until every row of it has an answer or an error."""

import re
from typing import Any, Protocol

from ingrain import errors as sdk_errors
from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Invalid
from servicekit.patience import PATIENCE_S, Patience
from services.inference.batches.calls import Call, Target, answers_of, request_of
from services.inference.batches.rows import Answer, answer_of, error_row

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
        self._patience = Patience(patience_s)

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
        """Waits while the engine is full or away."""
        request = request_of(call, self._target)
        ask = self._door.Score if isinstance(request, pb.ScoreRequest) else self._door.Generate
        return await self._patience.ask(lambda: ask(request, None))  # type: ignore[arg-type, return-value]


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
