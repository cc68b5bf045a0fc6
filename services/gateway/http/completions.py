"""/v1/completions <-> ingrain.v1.Inference: prompts as they are, without a chat template."""

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Invalid
from services.gateway.http.backends import INFERENCE
from services.gateway.http.bodies import GREATEST_MAX_TOKENS, Body, parsed
from services.gateway.http.calls import Door
from services.gateway.http.generating import FINISH, Form, answer
from services.gateway.http.logprobs import Completed

DEFAULT_MAX_TOKENS = 16  # OpenAI's
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
_PARAMS = {"top_logprobs": "logprobs", "prompt_logprobs": "echo", "parent": "model"}


class CompletionBody(Body):
    prompt: str | list[str] | list[TokenId] | list[list[TokenId]]
    max_tokens: Annotated[int, Field(ge=0, le=GREATEST_MAX_TOKENS)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=64)] | None = None

    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [self.prompt]  # type: ignore[list-item]
        return self.prompt  # type: ignore[return-value]


class Completions(Form):
    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def __init__(self, body: CompletionBody, parent: str) -> None:
        prompts = body.prompts()
        max_tokens = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
        self.echo, self.with_logprobs = bool(body.echo), body.logprobs is not None
        # The text of a prompt in tokens is known by its tokens only.
        reads = self.echo and (self.with_logprobs or max_tokens == 0 or not _all_texts(prompts))
        _check(body, prompts, max_tokens, reads)
        super().__init__(
            body,
            parent,
            [input_of(prompt) for prompt in prompts],
            max_tokens=max_tokens,
            logprobs=self.with_logprobs,
            top_logprobs=body.logprobs or 0,
            prompt_logprobs=reads,
        )
        self.prompts = [prompt for prompt in prompts for _ in range(body.choices)]
        self._lists: dict[int, Completed] = {}

    @staticmethod
    def param_of(field: str) -> str:
        head = field.partition("[")[0].partition(".")[0]
        return "prompt" if head in ("prompts", "inputs") else _PARAMS.get(head, head)

    def choice(self, index: int, generation: pb.Generation) -> dict[str, Any]:
        read = self._echoed(index, generation) if self.echo else ""
        logprobs = None
        if self.with_logprobs:
            lists = Completed()
            lists.read(read, generation.prompt_tokens)
            lists.write(generation.tokens)
            logprobs = lists.take()
        return completion_choice(index, generation, read, logprobs)

    def opening(self, index: int) -> dict[str, Any] | None:
        return _choice(index, str(self.prompts[index]), None, None) if self.echo else None

    def part(self, index: int, piece: pb.StreamGenerateResponse) -> list[dict[str, Any]]:
        logprobs = None
        if self.with_logprobs:
            lists = self._lists.setdefault(index, Completed())
            lists.write(piece.tokens)
            logprobs = lists.take()
        finish = FINISH.get(piece.finish_reason)
        if not piece.text and not piece.tokens and finish is None:
            return []
        return [_choice(index, piece.text, logprobs, finish)]

    def _echoed(self, index: int, generation: pb.Generation) -> str:
        prompt = self.prompts[index]
        if isinstance(prompt, str):
            return prompt
        return b"".join(token.token for token in generation.prompt_tokens).decode(errors="replace")


def completion_choice(
    index: int, generation: pb.Generation, read: str, logprobs: dict[str, Any] | None
) -> dict[str, Any]:
    """`read`: the prompt where it is echoed."""
    return _choice(index, read + generation.text, logprobs, FINISH[generation.finish_reason])


def _choice(index: int, text: str, logprobs: dict[str, Any] | None, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}


def _check(body: CompletionBody, prompts: list[str | list[int]], max_tokens: int, reads: bool) -> None:
    """What can be said in the caller's words better than by inference."""
    if not prompts or not all(prompts):
        raise Invalid(
            "EMPTY_PROMPT", "prompt is empty; there must be something to go on from", field="prompt"
        )
    if max_tokens == 0 and not body.echo:
        raise Invalid(
            "NOTHING_ASKED", "max_tokens 0 asks for nothing unless `echo` is set", field="max_tokens"
        )
    if body.stream and reads:
        raise Invalid(
            "NOT_IN_A_STREAM",
            "a prompt's own tokens come in one piece: ask without `stream`, or without `echo`",
            field="echo",
        )


def _all_texts(prompts: list[str | list[int]]) -> bool:
    return all(isinstance(prompt, str) for prompt in prompts)


def input_of(prompt: str | list[int]) -> pb.Input:
    if isinstance(prompt, str):
        return pb.Input(text=prompt)
    return pb.Input(token_ids=pb.TokenIds(ids=prompt))


class CompletionsHandler:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def create(self, request: web.Request) -> web.StreamResponse:
        async with self._door.admitted(request, f"{INFERENCE}/Generate") as asked:
            form = Completions(await parsed(request, CompletionBody), asked.parent)
            return await answer(request, asked, form)
