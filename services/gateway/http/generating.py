"""Asks inference, whole or as a stream of events; completions and chat differ in the form of the answer only."""

import secrets
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, ClassVar

from aiohttp import web

from ingrain.v1 import inference_pb2 as pb
from services.gateway.http.backends import INFERENCE, Asked
from services.gateway.http.bodies import Body
from services.gateway.http.calls import PARAM_OF
from services.gateway.http.events import Events, side_by_side
from services.gateway.http.names import model_name

APART = 0x9E3779B97F4A7C15  # odd and without a pattern
FINISH = {pb.Generation.STOP: "stop", pb.Generation.LENGTH: "length"}


class Form(ABC):
    """How a call and its answers are written. `inputs` are those of all choices, each prompt's `n` in a row."""

    prefix: ClassVar[str]
    whole: ClassVar[str]
    chunk: ClassVar[str]

    def __init__(self, body: Body, parent: str, inputs: list[pb.Input], **fields: Any) -> None:
        self.body = body
        self.inputs = body.repeated(inputs)
        self.request = pb.GenerateRequest(
            parent=parent, model=model_name(parent, body.model), **body.sampling(), **fields
        )
        self.id = f"{self.prefix}-{secrets.token_hex(12)}"
        self.created = int(time.time())

    @staticmethod
    @abstractmethod
    def param_of(field: str) -> str:
        """The caller's word for a field of GenerateRequest."""

    @abstractmethod
    def choice(self, index: int, generation: pb.Generation) -> dict[str, Any]:
        """One of `choices`, whole."""

    @abstractmethod
    def opening(self, index: int) -> dict[str, Any] | None:
        """What a choice's stream begins with, before anything is written."""

    @abstractmethod
    def part(self, index: int, piece: pb.StreamGenerateResponse) -> list[dict[str, Any]]:
        """What the stream says next of a choice."""

    def envelope(self, kind: str, choices: list[dict[str, Any]], model: str) -> dict[str, Any]:
        """`system_fingerprint` is the model that answers, after aliases and the like were resolved."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": model,
            "choices": choices,
        }


async def answer(request: web.Request, asked: Asked, form: Form) -> web.StreamResponse:
    request[PARAM_OF] = form.param_of
    if form.body.stream:
        return await streamed(request, asked, form)
    form.request.inputs.extend(form.inputs)
    response = await asked.unary(f"{INFERENCE}/Generate", form.request, pb.GenerateResponse)
    choices = [form.choice(index, one) for index, one in enumerate(response.generations)]
    whole = form.envelope(form.whole, choices, response.model)
    return web.json_response(whole | {"usage": usage_of(response, form.body.choices)})


async def streamed(request: web.Request, asked: Asked, form: Form) -> web.StreamResponse:
    """Events as text comes, choices side by side."""
    spent = [pb.Usage()] * len(form.inputs)
    model = ""
    nothing_yet: dict[str, Any] = {"usage": None} if form.body.includes_usage else {}

    async def events() -> AsyncGenerator[dict[str, Any]]:
        nonlocal model
        opened: set[int] = set()
        streams = [stream_of(asked, form, index, seed) for index, seed in enumerate(seeds(form))]
        async with aclosing(side_by_side(streams)) as pieces:
            async for index, piece in pieces:
                model = piece.model or model
                choices = form.part(index, piece)
                if index not in opened and (opening := form.opening(index)) is not None:
                    choices = [opening, *choices]
                opened.add(index)
                if piece.HasField("usage"):
                    spent[index] = piece.usage
                for choice in choices:
                    yield form.envelope(form.chunk, [choice], model) | nothing_yet
        if form.body.includes_usage:
            total = usage(
                sum(one.prompt_token_count for one in spent[:: form.body.choices]),
                sum(one.cached_token_count for one in spent[:: form.body.choices]),
                sum(one.generated_token_count for one in spent),
            )
            yield form.envelope(form.chunk, [], model) | {"usage": total}

    return await Events(request).send(events())


def stream_of(asked: Asked, form: Form, index: int, seed: int) -> AsyncGenerator[pb.StreamGenerateResponse]:
    one = pb.GenerateRequest()
    one.CopyFrom(form.request)
    one.inputs.append(form.inputs[index])
    one.seed = seed
    return asked.stream(f"{INFERENCE}/StreamGenerate", one, pb.StreamGenerateResponse)


def seeds(form: Form) -> list[int]:
    """A stream is one prompt's: equal ones, which a single call would tell apart, get seeds of their own here. The first of
    them keeps the call's."""
    seen: Counter[bytes] = Counter()
    found = []
    for given in form.inputs:
        content = given.SerializeToString(deterministic=True)
        found.append(
            (form.request.seed + seen[content] * APART) % (1 << 62) if seen[content] else form.request.seed
        )
        seen[content] += 1
    return found


def usage_of(response: pb.GenerateResponse, n: int) -> dict[str, Any]:
    """A prompt that is continued `n` times counts once."""
    written = sum(one.token_count for one in response.generations)
    read = sum(one.prompt_token_count for one in response.generations[::n])
    cached = sum(one.cached_token_count for one in response.generations[::n])
    if not read:  # a server elsewhere counts its answers together
        read, cached = response.usage.prompt_token_count, response.usage.cached_token_count
    return usage(read, cached, written)


def usage(read: int, cached: int, written: int) -> dict[str, Any]:
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
