"""Models that other servers answer for, as one more way to reach a model: a Backend in front of the engines'.

Nothing is computed here: a full context is only rendered in front of each question, as chat models read it. Tokens are
estimated, a token for four bytes of UTF-8, wherever the server has not counted them itself.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from servicekit.errors import Invalid, WrongState
from services.inference.backend import Backend
from services.inference.engine.seeds import stream_seeds
from services.inference.settings import InferenceSettings
from services.inference.wire import (
    ChatPrompt,
    Continuation,
    CountCall,
    EndpointRef,
    GenerateCall,
    Generated,
    ModelRef,
    Piece,
    PrefillCall,
    Prefilled,
    Raw,
    Running,
    ScoreCall,
    Spent,
)

if TYPE_CHECKING:
    from services.inference.completions import Answer, Completions

BYTES_PER_TOKEN = 4
KEPT = 4096
MOST_STOPS = 4  # of OpenAI-style servers


class Endpoints:
    def __init__(self, engines: Backend, settings: InferenceSettings) -> None:
        self._engines = engines
        self._settings = settings
        self._opened: Completions | None = None
        self._kept: OrderedDict[str, Answer] = OrderedDict()  # of calls that failed, by what was asked

    async def run(self) -> None:
        try:
            await self._engines.run()
        finally:
            if self._opened is not None:
                await self._opened.close()

    async def ready(self) -> bool:
        return await self._engines.ready()

    async def running(self) -> Running:
        return await self._engines.running()

    async def call(self, method: str, argument: Any) -> Any:
        endpoint = endpoint_of(argument)
        if endpoint is None:
            return await self._engines.call(method, argument)
        if isinstance(argument, GenerateCall):
            return await self._generate(endpoint, argument)
        if isinstance(argument, CountCall):
            return [estimated_tokens(text) for text in argument.texts]
        if isinstance(argument, PrefillCall):
            return Prefilled(self._prefill(argument), 0, Spent())
        assert isinstance(argument, ScoreCall)
        raise gives_no_logprobs(endpoint, argument.model.name)

    async def stream(self, argument: GenerateCall) -> AsyncGenerator[Any, None]:
        endpoint = endpoint_of(argument)
        if endpoint is None:
            async with aclosing(self._engines.stream(argument)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        (body,) = bodies(endpoint, argument)
        spent, written = Spent(), ""
        async with aclosing(self._completions().pieces(endpoint, body)) as parts:
            async for part in parts:
                if isinstance(part, str):
                    written += part
                    yield Piece(part)
                else:
                    account(part, read_of(argument, 0), written, spent)
                    yield Piece("", part.finished, spent)

    async def _generate(self, endpoint: EndpointRef, call: GenerateCall) -> Generated:
        """Where one prompt fails the call does; what was answered by then is kept for when it is asked again, so that
        nothing is paid for twice and a server that lets little through is got through at last."""
        wanted = bodies(endpoint, call)
        keys = [key_of(call.model.name, body) for body in wanted]
        tasks = [
            asyncio.create_task(self._answer(endpoint, key, body))
            for key, body in zip(keys, wanted, strict=True)
        ]
        try:
            answers = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self._keep(
                {k: one for k, one in zip(keys, ended, strict=True) if not isinstance(one, BaseException)}
            )
            raise
        spent = Spent()
        counts = [
            account(answer, read_of(call, index), answer.text, spent) for index, answer in enumerate(answers)
        ]
        continuations = [
            Continuation(
                answer.text,
                count,
                answer.finished,
                answer.prompt_tokens or estimated_tokens(read_of(call, index)),
                answer.cached_tokens,
            )
            for index, (answer, count) in enumerate(zip(answers, counts, strict=True))
        ]
        return Generated(continuations, spent)

    async def _answer(self, endpoint: EndpointRef, key: str, body: dict[str, Any]) -> "Answer":
        if key in self._kept:
            return self._kept.pop(key)
        return await self._completions().answer(endpoint, body)

    def _keep(self, answers: dict[str, "Answer"]) -> None:
        self._kept.update(answers)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _prefill(self, call: PrefillCall) -> int:
        count, window = estimated_tokens(call.context.text), call.model.context_window
        if count >= window:
            raise Invalid(
                "CONTEXT_TOO_LONG",
                f"the documents have about {count} tokens and {call.model.name} can take {window}; "
                "select fewer, group them, or take a model with a longer window",
                field="context",
                token_count=count,
                context_window=window,
            )
        return count

    def _completions(self) -> "Completions":
        if self._opened is None:
            from services.inference.completions import Completions

            self._opened = Completions(self._settings)
        return self._opened


def gives_no_logprobs(endpoint: EndpointRef, model: str) -> WrongState:
    return WrongState(
        "MODEL_GIVES_NO_LOGPROBS",
        f"{endpoint.base_url} answers for {model} and gives text, no log-likelihoods; ask it to "
        "generate, or score with a model whose weights are here",
        model=model,
    )


def endpoint_of(argument: Any) -> EndpointRef | None:
    model: ModelRef | None = getattr(argument, "model", None)
    return model.endpoint if model else None


def estimated_tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def key_of(model: str, body: dict[str, Any]) -> str:
    """Of what is asked of whom."""
    return hashlib.sha256(json.dumps([model, body], sort_keys=True).encode()).hexdigest()


def messages_of(call: GenerateCall, index: int) -> list[dict[str, str]]:
    """What the model reads for a prompt: the documents stand before the first user's message."""
    prompt = call.prompts[index]
    if isinstance(prompt, ChatPrompt):
        messages = [{"role": role, "content": said} for role, said in prompt.turns]
    elif isinstance(prompt, str | Raw):
        messages = [{"role": "user", "content": prompt.text if isinstance(prompt, Raw) else prompt}]
    else:
        raise Invalid(
            "ENDPOINT_TAKES_TEXT", "another server's model reads text, no token ids", field=f"inputs[{index}]"
        )
    if call.context:
        first = next((message for message in messages if message["role"] == "user"), messages[-1])
        first["content"] = f"{call.context.text}\n\n{first['content']}"
    return messages


def read_of(call: GenerateCall, index: int) -> str:
    """All that is read for a prompt."""
    return "\n".join(message["content"] for message in messages_of(call, index))


def bodies(endpoint: EndpointRef, call: GenerateCall) -> list[dict[str, Any]]:
    """A request for each prompt. Invalid where one has no room in the window."""
    if len(call.stop) > MOST_STOPS:
        raise Invalid(
            "TOO_MANY_STOPS",
            f"{len(call.stop)} stop strings; OpenAI-style servers take {MOST_STOPS}",
            field="stop",
        )
    if call.logprobs or call.prompt_logprobs:
        raise gives_no_logprobs(endpoint, call.model.name)
    seeds = stream_seeds(call.seed, call.prompts)
    return [body_of(endpoint, call, index, seed) for index, seed in enumerate(seeds)]


def body_of(endpoint: EndpointRef, call: GenerateCall, index: int, seed: int) -> dict[str, Any]:
    text, window = read_of(call, index), call.model.context_window
    count = estimated_tokens(text)
    if count >= window:
        raise Invalid(
            "PROMPT_TOO_LONG",
            f"prompts[{index}] has about {count} tokens with its context and {call.model.name} can take {window}",
            field=f"prompts[{index}]",
            token_count=count,
            context_window=window,
        )
    body: dict[str, Any] = {
        "model": endpoint.model_id,
        "messages": messages_of(call, index),
        "max_tokens": min(call.max_tokens, window - count),
        "temperature": call.temperature,
    }
    if call.top_p < 1:
        body["top_p"] = call.top_p
    if call.temperature > 0:
        body["seed"] = seed % (1 << 31)  # what servers take
    if call.stop:
        body["stop"] = call.stop
    if call.json_schema:
        schema = {"name": "output", "schema": json.loads(call.json_schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def account(answer: "Answer", read: str, written: str, spent: Spent) -> int:
    """Adds what an answer took; the tokens that were written for it."""
    generated = answer.generated_tokens if answer.generated_tokens is not None else estimated_tokens(written)
    spent.prompt_tokens += (
        answer.prompt_tokens if answer.prompt_tokens is not None else estimated_tokens(read)
    )
    spent.cached_tokens += answer.cached_tokens
    spent.generated_tokens += generated
    return generated
