"""/v1/chat/completions <-> ingrain.v1.Inference: conversations, by the model's own chat template."""

import json
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Invalid
from services.gateway.http.backends import INFERENCE
from services.gateway.http.bodies import GREATEST_MAX_TOKENS, Body, Part, parsed
from services.gateway.http.calls import Door
from services.gateway.http.generating import FINISH, Form, answer
from services.gateway.http.logprobs import of_chat

# OpenAI's is what the window leaves. Here passages that are looked up share the window with the answer, so that it is bounded.
DEFAULT_MAX_TOKENS = 1024
ROLES = ("system", "developer", "user", "assistant")
_PARAMS = {"json_schema": "response_format", "parent": "model"}
MaxTokens = Annotated[int, Field(ge=1, le=GREATEST_MAX_TOKENS)]


class TextPart(Part):
    type: str
    text: str | None = None


class Message(Part):
    known = frozenset({"refusal", "annotations"})  # of answers that are sent again
    role: str
    content: str | list[TextPart] | None = None


class JsonSchema(Part):
    known = frozenset({"name", "description", "strict"})  # the output keeps to the schema in any case
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(Part):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatBody(Body):
    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=64)] | None = None
    response_format: ResponseFormat | None = None


class Chat(Form):
    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, body: ChatBody, parent: str) -> None:
        if body.top_logprobs is not None and not body.logprobs:
            raise Invalid("NO_LOGPROBS", "top_logprobs needs `logprobs: true`", field="top_logprobs")
        self.with_logprobs = bool(body.logprobs)
        messages = [message_of(number, message) for number, message in enumerate(body.messages)]
        super().__init__(
            body,
            parent,
            [pb.Input(chat=pb.Chat(messages=messages))],
            max_tokens=body.max_completion_tokens or body.max_tokens or DEFAULT_MAX_TOKENS,
            logprobs=self.with_logprobs,
            top_logprobs=body.top_logprobs or 0,
            json_schema=schema_of(body.response_format),
        )

    @staticmethod
    def param_of(field: str) -> str:
        if field.startswith(("inputs", "prompts")):
            return field.partition(".chat.")[2] or "messages"
        head = field.partition("[")[0].partition(".")[0]
        return _PARAMS.get(head, head)

    def choice(self, index: int, generation: pb.Generation) -> dict[str, Any]:
        return chat_choice(index, generation, self.with_logprobs)

    def opening(self, index: int) -> dict[str, Any] | None:
        return _delta(index, {"role": "assistant", "content": "", "refusal": None})

    def part(self, index: int, piece: pb.StreamGenerateResponse) -> list[dict[str, Any]]:
        parts = []
        if piece.text or piece.tokens:
            logprobs = of_chat(piece.tokens) if self.with_logprobs else None
            parts.append(_delta(index, {"content": piece.text}, logprobs))
        if piece.finish_reason:
            parts.append(_delta(index, {}, None, FINISH[piece.finish_reason]))
        return parts


def chat_choice(index: int, generation: pb.Generation, with_logprobs: bool) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": generation.text, "refusal": None, "annotations": []},
        "logprobs": of_chat(generation.tokens) if with_logprobs else None,
        "finish_reason": FINISH[generation.finish_reason],
    }


def _delta(
    index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, finish: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def message_of(number: int, message: Message) -> pb.ChatMessage:
    """Texts of several parts are put together as they are."""
    where = f"messages[{number}]."
    message.check_extra(where)
    if message.role not in ROLES:
        raise Invalid(
            "UNSUPPORTED_ROLE",
            f"{where}role is {message.role[:50]!r}; models here know {', '.join(ROLES)}, so put what a tool said into a "
            "user's message",
            field=f"{where}role",
        )
    if isinstance(message.content, list):
        texts = [_text_of(f"{where}content[{index}]", part) for index, part in enumerate(message.content)]
        return pb.ChatMessage(role=message.role, content="".join(texts))
    if message.content is None and message.role != "assistant":
        raise Invalid("NO_CONTENT", f"{where}content is missing", field=f"{where}content")
    return pb.ChatMessage(role=message.role, content=message.content or "")


def _text_of(where: str, part: TextPart) -> str:
    if part.type != "text" or part.text is None:
        raise Invalid(
            "TEXT_ONLY",
            f"{where} is no text; models here read text only, so send `{{'type': 'text', 'text': ...}}`",
            field=where,
        )
    part.check_extra(f"{where}.")
    return part.text


def schema_of(wanted: ResponseFormat | None) -> str:
    """What the output must keep to, as GenerateRequest takes it."""
    if wanted is None or wanted.type == "text":
        return ""
    wanted.check_extra("response_format.")
    if wanted.type == "json_object":
        return '{"type": "object"}'
    if wanted.json_schema is None:
        where = "response_format.json_schema"
        raise Invalid("NO_SCHEMA", f"{where} is missing: `{{'name': ..., 'schema': {{...}}}}`", field=where)
    wanted.json_schema.check_extra("response_format.json_schema.")
    return json.dumps(wanted.json_schema.json_schema)


class ChatHandler:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def create(self, request: web.Request) -> web.StreamResponse:
        async with self._door.admitted(request, f"{INFERENCE}/Generate") as asked:
            form = Chat(await parsed(request, ChatBody), asked.parent)
            return await answer(request, asked, form)
