"""The Inference service's messages <-> values of `wire`."""

import json

from ingrain.v1 import inference_pb2 as pb
from servicekit import metrics
from servicekit.errors import Invalid
from services.inference.wire import ChatPrompt, Continuation, Held, Prompt, Raw, Spent, Token, TokenPrompt

GREATEST_PROMPT_BYTES = 1 << 20
GREATEST_SCHEMA_BYTES = 256 << 10


def prompts_of(request: pb.GenerateRequest) -> list[Prompt]:
    """Of `prompts` or `inputs`, whichever is there; Invalid for none, both, empty ones and such of over 1 MiB."""
    if bool(request.prompts) == bool(request.inputs):
        raise Invalid(
            "PROMPTS_OR_INPUTS",
            "send at least one prompt, in `prompts` or in `inputs` and not in both",
            field="prompts",
        )
    if request.prompts:
        for index, prompt in enumerate(request.prompts):
            _check(prompt, f"prompts[{index}]")
        return list(request.prompts)
    return [_input(given, f"inputs[{index}]") for index, given in enumerate(request.inputs)]


def _input(given: pb.Input, where: str) -> Prompt:
    if given.HasField("text"):
        _check(given.text, f"{where}.text")
        return Raw(given.text)
    if given.HasField("token_ids"):
        return TokenPrompt(tuple(given.token_ids.ids))
    for number, message in enumerate(given.chat.messages):
        _check(message.content, f"{where}.chat.messages[{number}].content", may_be_empty=True)
    if not any(message.content for message in given.chat.messages):
        raise Invalid("EMPTY_PROMPT", f"{where} says nothing", field=where)
    return ChatPrompt(tuple((message.role, message.content) for message in given.chat.messages))


def _check(text: str, where: str, *, may_be_empty: bool = False) -> None:
    if len(text.encode()) > GREATEST_PROMPT_BYTES:
        raise Invalid("PROMPT_TOO_BIG", f"{where} has over 1 MiB", field=where)
    if not text and not may_be_empty:
        raise Invalid("EMPTY_PROMPT", f"{where} is empty", field=where)


def question_of(prompt: Prompt, index: int) -> str:
    """What documents are looked up for: the text, or the last that a user said."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Raw):
        return prompt.text
    if isinstance(prompt, ChatPrompt):
        said = [text for role, text in prompt.turns if role == "user"]
        if said:
            return said[-1]
    raise Invalid(
        "NOTHING_TO_LOOK_UP",
        "documents are found by a user's words; send text or a user's message",
        field=f"inputs[{index}]",
    )


def with_question(prompt: Prompt, text: str) -> Prompt:
    """The prompt with another text where the question stood."""
    if isinstance(prompt, ChatPrompt):
        last = max(number for number, (role, _) in enumerate(prompt.turns) if role == "user")
        return ChatPrompt((*prompt.turns[:last], ("user", text), *prompt.turns[last + 1 :]))
    return Raw(text) if isinstance(prompt, Raw) else text


def schema_of(request: pb.GenerateRequest) -> str:
    """The JSON schema, if it is JSON at all."""
    if not request.json_schema:
        return ""
    try:
        if len(request.json_schema.encode()) > GREATEST_SCHEMA_BYTES:
            raise ValueError("it has over 256 KiB")
        if not isinstance(json.loads(request.json_schema), dict | bool):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        raise Invalid("BAD_SCHEMA", f"the JSON schema cannot be read: {error}", field="json_schema") from None
    return request.json_schema


def is_bulk(request: pb.GenerateRequest | pb.ScoreRequest) -> bool:
    return request.priority == pb.BULK


def generation(one: Continuation) -> pb.Generation:
    return pb.Generation(
        text=one.text,
        finish_reason=pb.Generation.STOP if one.finished else pb.Generation.LENGTH,
        token_count=one.token_count,
        tokens=map(token, one.tokens),
        prompt_tokens=map(token, one.prompt_tokens),
        prompt_token_count=one.prompt_count,
        cached_token_count=one.cached_count,
    )


def token(one: Token) -> pb.TokenLogprob:
    top = [pb.TopLogprob(id=other.id, token=other.text, logprob=other.logprob) for other in one.top]
    return pb.TokenLogprob(id=one.id, token=one.text, logprob=one.logprob, top=top)


def usage(kind: str, spent: Spent) -> pb.Usage:
    """What a call of this kind cost, told to the caller and counted here, once for each call."""
    metrics.tokens(kind, read=spent.prompt_tokens, cached=spent.cached_tokens, written=spent.generated_tokens)
    return pb.Usage(
        prompt_token_count=spent.prompt_tokens,
        cached_token_count=spent.cached_tokens,
        generated_token_count=spent.generated_tokens,
        flops=spent.flops,
        compute_seconds=spent.compute_s,
    )


def replica(held: Held | None) -> pb.Replica | None:
    if held is None:
        return None
    return pb.Replica(
        held_context_count=held.held_context_count,
        held_context_bytes=held.held_context_bytes,
        cache_bytes_limit=held.cache_bytes_limit,
        spilled_context_count=held.spilled_context_count,
        spilled_context_bytes=held.spilled_context_bytes,
        pinned_context_bytes=held.pinned_context_bytes,
        models=held.models,
        model_bytes=held.model_bytes,
        running_count=held.running_count,
        waiting_count=held.waiting_count,
    )
