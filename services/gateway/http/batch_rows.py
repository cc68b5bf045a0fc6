"""Lines of OpenAI's batch files <-> rows of datasets. Pure.

in   {"custom_id", "method", "url", "body"}         -> a row of PROMPTS: {"id", "messages" or "prompt", "parameters"}
out  a row of ANSWERS: {"id", "completion", ...}    -> {"id", "custom_id", "response", "error"}
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Invalid
from services.gateway.http.bodies import Part, refusal
from services.gateway.http.chat import Chat, ChatBody, chat_choice
from services.gateway.http.completions import CompletionBody, Completions, completion_choice
from services.gateway.http.generating import usage
from services.gateway.http.logprobs import Completed

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
FINISH = {"stop": pb.Generation.STOP, "length": pb.Generation.LENGTH}


@dataclass(frozen=True)
class Shared:
    """What all lines of a file agree on: a batch has one of each."""

    endpoint: str
    model: str
    context: str


class Line(Part):
    custom_id: Annotated[str, Field(min_length=1, max_length=512)]
    method: Literal["POST"]
    url: Literal["/v1/chat/completions", "/v1/completions"]
    body: dict[str, Any]


def row_of(number: int, raw: bytes, parent: str, first: Shared | None) -> tuple[Shared, dict[str, Any]]:
    """Line `number` (from 1) as a row. Raises Invalid that names the line, also where it differs from the first one in what
    they must agree on, and where it asks what a row cannot."""
    try:
        line = _line(raw)
    except Invalid as error:
        raise _at(number, error, "") from None
    try:
        body = _body(line)
    except Invalid as error:
        raise _at(number, error, "body.") from None
    shared = Shared(line.url, body.model, body.context or "")
    if first is not None and shared != first:
        name = next(
            name for name in ("endpoint", "model", "context") if getattr(shared, name) != getattr(first, name)
        )
        told = f"{name} is {getattr(shared, name)!r} and was {getattr(first, name)!r} before; a file has one"
        raise _at(number, Invalid("LINES_DISAGREE", told, field=name), "")
    try:
        return shared, {"id": line.custom_id, **_asked(body, parent)}
    except Invalid as error:
        raise _at(number, error, "body.") from None


def _line(raw: bytes) -> Line:
    try:
        line = Line.model_validate_json(raw)
    except ValidationError as error:
        raise refusal(error) from None
    line.check_extra()
    return line


def _body(line: Line) -> ChatBody | CompletionBody:
    kind = ChatBody if line.url == CHAT else CompletionBody
    try:
        body: Any = kind.model_validate(line.body)
    except ValidationError as error:
        raise refusal(error) from None
    body.check_extra()
    return body  # type: ignore[no-any-return]


def _at(number: int, error: Invalid, where: str) -> Invalid:
    field = f"lines[{number - 1}]" + (f".{where}{error.field}" if error.field else "")
    return Invalid(error.reason, f"line {number}: {error.message}", field=field, line=number)


def _asked(body: ChatBody | CompletionBody, parent: str) -> dict[str, Any]:
    for name, asks in (
        ("stream", body.stream),
        ("n", body.choices > 1),
        ("echo", getattr(body, "echo", None)),
    ):
        if asks:
            raise Invalid("NOT_IN_A_BATCH", f"{name} is not for batches; leave it out", field=name)
    form = Chat(body, parent) if isinstance(body, ChatBody) else Completions(body, parent)
    wanted, (given,) = form.request, form.inputs if len(form.inputs) == 1 else (None,)
    if given is None or given.HasField("token_ids"):
        raise Invalid("ONE_TEXT", "in a batch a prompt is one text", field="prompt")
    parameters: dict[str, Any] = {"max_tokens": wanted.max_tokens, "temperature": wanted.temperature}
    if body.top_p is not None:
        parameters["top_p"] = wanted.top_p
    if body.seed is not None:  # else of the batch's own and the row's id
        parameters["seed"] = body.seed
    if wanted.stop:
        parameters["stop"] = list(wanted.stop)
    if wanted.logprobs:
        parameters |= {"logprobs": True, "top_logprobs": wanted.top_logprobs}
    if wanted.json_schema:
        parameters["json_schema"] = wanted.json_schema
    if given.HasField("text"):
        return {"prompt": given.text, "parameters": parameters}
    turns = [{"role": turn.role, "content": turn.content} for turn in given.chat.messages]
    return {"messages": turns, "parameters": parameters}


def request_line(row: dict[str, Any], shared: Shared) -> dict[str, Any]:
    """A row as it was asked for: the same request, with what it left to defaults written out."""
    parameters = dict(row.get("parameters", {}))
    schema = parameters.pop("json_schema", None)
    if shared.endpoint == COMPLETIONS and "logprobs" in parameters:
        parameters["logprobs"] = parameters.pop("top_logprobs", 0)
    if schema:
        read = json.loads(schema) if isinstance(schema, str) else schema
        parameters["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": read},
        }
    asked = {key: row[key] for key in ("messages", "prompt") if key in row}
    context = {"context": shared.context} if shared.context else {}
    body = {"model": shared.model, **asked, **parameters, **context}
    return {"custom_id": row["id"], "method": "POST", "url": shared.endpoint, "body": body}


def answer_line(row: dict[str, Any], shared: Shared, batch: str, created: int) -> dict[str, Any]:
    """An answer, or the error that stands in its place."""
    digest = hashlib.sha256(f"{batch} {row['id']}".encode()).hexdigest()[:24]
    line = {"id": f"batch_req_{digest}", "custom_id": row["id"], "response": None, "error": row.get("error")}
    if line["error"] is None:
        body = answer_body(row, shared, digest, created)
        line["response"] = {"status_code": 200, "request_id": digest, "body": body}
    return line


def answer_body(row: dict[str, Any], shared: Shared, digest: str, created: int) -> dict[str, Any]:
    generation = pb.Generation(
        text=row["completion"],
        finish_reason=FINISH[row["finish_reason"]],
        tokens=[_token(token) for token in row.get("tokens", ())],
    )
    if shared.endpoint == CHAT:
        form: Any = Chat
        choice = chat_choice(0, generation, "tokens" in row)
    else:
        form, lists = Completions, Completed()
        lists.write(generation.tokens)
        choice = completion_choice(0, generation, "", lists.take() if "tokens" in row else None)
    return {
        "id": f"{form.prefix}-{digest}",
        "object": form.whole,
        "created": created,
        "model": shared.model,
        "choices": [choice],
        "usage": usage(row.get("prompt_token_count", 0), 0, row.get("token_count", 0)),
    }


def _token(token: dict[str, Any]) -> pb.TokenLogprob:
    top = [
        pb.TopLogprob(id=other["id"], token=other["token"].encode(), logprob=_finite(other["logprob"]))
        for other in token.get("top", ())
    ]
    return pb.TokenLogprob(
        id=token["id"], token=token["token"].encode(), logprob=_finite(token["logprob"]), top=top
    )


def _finite(logprob: float | None) -> float:
    """What a row cannot hold was minus infinity; OpenAI writes so of very unlikely tokens."""
    return -9999.0 if logprob is None else logprob
