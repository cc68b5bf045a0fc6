"""A JSON body -> a checked value. A field that would change the answer is understood or refused, never passed over."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Invalid

GREATEST_MAX_TOKENS = 65536
MOST_CHOICES = 512  # of one call, over all prompts
MOST_STREAMS = 64  # of one call
MOST_STOPS = 8
Stop = str | Annotated[list[str], Field(max_length=MOST_STOPS)]
# Sent by clients, without a part in the answer.
PASSED = frozenset(
    (
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prediction",
        "parallel_tool_calls",
    )
)
# Taken with values that ask for nothing; `null`, an empty list and an empty object always are.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "best_of": (1,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
}
INSTEAD = {
    "best_of": "ask for several with `n` and choose yourself",
    "suffix": "models here write onward only",
    "tools": "ask for JSON by `response_format` instead",
    "functions": "ask for JSON by `response_format` instead",
    "tool_choice": "ask for JSON by `response_format` instead",
    "audio": "models here read and write text",
    "modalities": "models here read and write text",
    "web_search_options": "name `rag:<dataset>@<model>` as the model to have passages looked up",
}


class Part(BaseModel):
    """Of a body. Numbers are numbers, not texts of such."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)
    known: ClassVar[frozenset[str]] = frozenset()  # beside the fields

    def check_extra(self, where: str = "") -> None:
        for name, value in (self.model_extra or {}).items():
            if name in self.known or value is None or value == [] or value == {}:
                continue
            allowed = NEUTRAL.get(name, ())
            if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
                continue
            advice = INSTEAD.get(name, "leave it out")
            raise Invalid(
                "UNSUPPORTED_PARAMETER",
                f"{where}{name} is not supported here; {advice}",
                field=f"{where}{name}"[:200],
            )


class StreamOptions(Part):
    known = frozenset({"include_obfuscation"})
    include_usage: bool | None = None


class Body(Part):
    """What completions and chat share."""

    known = PASSED
    model: Annotated[str, Field(min_length=1, max_length=600)]
    context: Annotated[str, Field(max_length=255)] | None = None  # of the platform: a context's name
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: Stop | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """Fields of GenerateRequest. OpenAI's temperature is 1 where none is given, and its seed another each time."""
        temperature = 1.0 if self.temperature is None else self.temperature
        return {
            "temperature": temperature,
            # 0 means the default to the platform; the smallest set that holds nearly nothing is the likeliest token.
            "top_p": 1.0 if self.top_p is None else max(self.top_p, 1e-9),
            "seed": self.seed if self.seed is not None else secrets.randbits(62) if temperature else 0,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop or [],
            "context": self.context or "",
        }

    def repeated(self, inputs: list[pb.Input]) -> list[pb.Input]:
        """Each of them `n` times in a row; equal prompts draw apart."""
        most = MOST_STREAMS if self.stream else MOST_CHOICES
        if len(inputs) * self.choices > most:
            raise Invalid(
                "TOO_MANY_CHOICES",
                f"{len(inputs)} prompts with n={self.choices} are {len(inputs) * self.choices} answers, and a "
                f"{'stream' if self.stream else 'call'} gives {most}; send fewer at once",
                field="n" if self.choices > 1 else "prompt",
            )
        return [one for one in inputs for _ in range(self.choices)]


Kind = TypeVar("Kind", bound=Body)


async def parsed(request: web.Request, kind: type[Kind]) -> Kind:
    try:
        body = kind.model_validate_json(await request.read())
    except ValidationError as error:
        raise refusal(error) from None
    body.check_extra()
    if body.stream_options is not None:
        body.stream_options.check_extra("stream_options.")
        if not body.stream:
            raise Invalid(
                "NO_STREAM",
                "stream_options are for `stream: true` only; leave them out",
                field="stream_options",
            )
    return body


def refusal(error: ValidationError) -> Invalid:
    """The first thing that is wrong. Of values that may have several forms every form has its error; the last one, the
    most general, is told."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = found[0]
    if first["type"] == "json_invalid":
        return Invalid("BAD_JSON", f"the body is no JSON: {first['msg']}")
    if not first["loc"]:
        return Invalid("BAD_JSON", "the body must be a JSON object")
    parts = [p for p in first["loc"] if isinstance(p, int) or str(p).isidentifier()]
    field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")[:200]
    if forms := FORMS.get(str(first["loc"][0])):
        return Invalid("INVALID_REQUEST", f"{first['loc'][0]} must be {forms}", field=str(first["loc"][0]))
    return Invalid("INVALID_REQUEST", f"{field}: {first['msg'].lower()}", field=field)


FORMS = {
    "prompt": "a string, a list of strings, a list of token ids, or a list of lists of token ids",
    "stop": f"a string or a list of at most {MOST_STOPS} strings",
}
