"""One replica's methods over vLLM's AsyncLLM: tokens in, tokens out; batching, the prefix cache and adapters are vLLM's.

A replica has one base model, which its process was started with, and any number of adapters on it.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from servicekit.errors import DomainError, Exhausted, Invalid, Unavailable, WrongState
from servicekit.storage import open_storage
from services.inference.engine.files import fetch
from services.inference.engine.heads import Heads
from services.inference.engine.render import Renderer
from services.inference.engine.sampling import Vocabulary
from services.inference.engine.seeds import stream_seeds
from services.inference.settings import InferenceSettings
from services.inference.vllm_engine import requests
from services.inference.vllm_engine.adapters import Adapters
from services.inference.vllm_engine.models import Loaded, account, is_weights, require_room, tokenizer_of
from services.inference.vllm_engine.scoring import scores_of, together, trees_of
from services.inference.wire import (
    Continuation,
    CountCall,
    Facts,
    ForgetCall,
    GenerateCall,
    Generated,
    Held,
    ModelRef,
    Piece,
    PrefillCall,
    Prefilled,
    Prompt,
    Refused,
    ScoreCall,
    Scored,
    Spent,
    refused,
)

T = TypeVar("T")
INTERACTIVE, BULK = 0, 1  # vLLM's priorities: lower first


class VllmEngine:
    """`llm`: an AsyncLLM (or what has its `generate`) over the base model whose files lie at `settings.vllm_model`.
    `place`: the device's name, the number format, and libraries' versions."""

    def __init__(self, settings: InferenceSettings, llm: Any, place: tuple[str, str, dict[str, str]]) -> None:
        self._settings = settings
        self._llm = llm
        self._place = place
        self._storage = open_storage(settings)
        self._adapters = Adapters()
        self._tokenizers: dict[str, tuple[Any, Heads, Vocabulary]] = {}
        self._known: set[str] = set()
        self._queued = 0

    async def facts(self) -> Facts:
        device, dtype, versions = self._place
        unfinished = self._llm.get_num_unfinished_requests()
        held = Held(models=tuple(sorted(self._known)), running_count=unfinished)
        return Facts(device, dtype, versions, held)

    async def score(self, call: ScoreCall) -> Scored | Refused:
        """Each choice's tokens one look after another (see trees); looks of a question at once behind the first, which puts
        the question in the cache, and questions at once behind the first, which puts the context there."""

        async def work() -> Scored:
            loaded, spent = await self._loaded(call.model), Spent()
            trees = await asyncio.to_thread(trees_of, loaded, call)
            alone = 1 if call.context else 0
            found = [await scores_of(self._output, loaded, tree, call.bulk, spent) for tree in trees[:alone]]
            found += await together(
                scores_of(self._output, loaded, tree, call.bulk, spent) for tree in trees[alone:]
            )
            return Scored(found, spent)

        return await self._answered(work)

    async def generate(self, call: GenerateCall) -> Generated | Refused:
        async def work() -> Generated:
            loaded, spent = await self._loaded(call.model), Spent()
            prompts = await asyncio.to_thread(self._prompts, loaded, call)
            seeds = stream_seeds(call.seed, call.prompts)
            asked = list(zip(prompts, seeds, strict=True))
            alone = 1 if call.context else 0
            written = [await self._written(loaded, call, ids, seed, spent) for ids, seed in asked[:alone]]
            written += await together(
                self._written(loaded, call, ids, seed, spent) for ids, seed in asked[alone:]
            )
            return Generated(written, spent)

        return await self._answered(work, call.json_schema)

    async def stream(self, call: GenerateCall) -> AsyncGenerator[Piece | Refused, None]:
        try:
            with self._place_taken():
                loaded, spent = await self._loaded(call.model), Spent()
                (ids,) = await asyncio.to_thread(self._prompts, loaded, call)
                most = self._most(loaded, call, ids)
                if not most:
                    spent.prompt_tokens = len(ids)
                    yield Piece("", False, spent)
                    return
                (seed,) = stream_seeds(call.seed, call.prompts)
                params = requests.writing(call, seed, most, in_pieces=True)
                written, one = 0, None
                async with aclosing(self._outputs(loaded, ids, params, call.bulk)) as outputs:
                    async for output in outputs:
                        (one,) = output.outputs
                        written += len(one.token_ids)
                        if output.finished:
                            account(spent, loaded.ref, len(ids), output.num_cached_tokens or 0, written)
                        yield Piece(
                            one.text,
                            one.finish_reason == "stop",
                            spent if output.finished else None,
                            requests.tokens(one, call, loaded.vocabulary.bytes_of),
                        )
        except DomainError as error:
            yield refused(error)

    async def count(self, call: CountCall) -> list[int] | Refused:
        async def work() -> list[int]:
            renderer = (await self._loaded(call.model)).renderer
            return await asyncio.to_thread(lambda: [renderer.count(text) for text in call.texts])

        return await self._answered(work)

    async def prefill(self, call: PrefillCall) -> Prefilled | Refused:
        """Reads the context once. How long it stays in the cache is vLLM's; `pinned` asks for nothing more."""

        async def work() -> Prefilled:
            loaded, spent = await self._loaded(call.model), Spent()
            ids = await asyncio.to_thread(loaded.renderer.context, call.context.text)
            window = loaded.ref.context_window
            if len(ids) >= window:
                raise Invalid(
                    "CONTEXT_TOO_LONG",
                    f"the documents have {len(ids)} tokens and {loaded.ref.name} can take {window}; "
                    "select fewer, group them, or take a model with a longer window",
                    field="context",
                    token_count=len(ids),
                    context_window=window,
                )
            output = await self._output(loaded, ids, requests.reading(), False)
            account(spent, loaded.ref, len(ids), output.num_cached_tokens or 0, 0)
            return Prefilled(len(ids), 0, spent)

        return await self._answered(work)

    async def forget(self, call: ForgetCall) -> None:
        """Nothing: vLLM drops what is least recently used, and cannot be asked to drop one text."""

    def _prompts(self, loaded: Loaded, call: GenerateCall) -> list[list[int]]:
        documents = call.context.text if call.context else None
        return [
            self._prompt(loaded, documents, prompt, f"prompts[{n}]") for n, prompt in enumerate(call.prompts)
        ]

    def _prompt(self, loaded: Loaded, documents: str | None, prompt: Prompt, where: str) -> list[int]:
        ids = loaded.renderer.prompt(documents, prompt)
        require_room(loaded.ref, len(ids), where)
        if not ids:
            raise Invalid("EMPTY_PROMPT", f"{where} has no tokens", field=where)
        return ids

    def _most(self, loaded: Loaded, call: GenerateCall, ids: Sequence[int]) -> int:
        return min(call.max_tokens, loaded.ref.context_window - len(ids))

    async def _written(
        self, loaded: Loaded, call: GenerateCall, ids: list[int], seed: int, spent: Spent
    ) -> Continuation:
        most = self._most(loaded, call, ids)
        if not most and not call.prompt_logprobs:  # the window is full: vLLM would write a token all the same
            spent.prompt_tokens += len(ids)
            return Continuation("", 0, False, len(ids), 0)
        output = await self._output(loaded, ids, requests.writing(call, seed, most), call.bulk)
        found = requests.continuation(output, call, loaded.vocabulary.bytes_of)
        account(spent, loaded.ref, len(ids), found.cached_count, found.token_count)
        return found

    async def _output(self, loaded: Loaded, ids: Sequence[int], params: Any, bulk: bool) -> Any:
        """The last of a request's outputs."""
        last = None
        async with aclosing(self._outputs(loaded, ids, params, bulk)) as outputs:
            async for output in outputs:
                last = output
        return last

    async def _outputs(
        self, loaded: Loaded, ids: Sequence[int], params: Any, bulk: bool
    ) -> AsyncGenerator[Any, None]:
        """Closing it, or cancelling whoever waits for it, ends the request in the engine."""
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            async with aclosing(
                self._llm.generate(
                    requests.prompt_of(ids),
                    params,
                    uuid.uuid4().hex,
                    lora_request=loaded.lora,
                    priority=BULK if bulk else INTERACTIVE,
                )
            ) as outputs:
                async for output in outputs:
                    yield output
        except VLLMValidationError as error:
            raise Invalid("ENGINE_REFUSED", f"vLLM refuses the request: {error}") from None
        except EngineDeadError:
            raise Unavailable("ENGINE_RESTARTING", "the engine is being replaced; try again", 2.0) from None

    async def _loaded(self, ref: ModelRef) -> Loaded:
        base = ref.base or ref
        if base.uri.rstrip("/") != self._settings.vllm_model.rstrip("/"):
            raise WrongState(
                "ANOTHER_BASE_MODEL",
                f"vLLM runs the model at {self._settings.vllm_model}, and {ref.name} stands on {base.name}; a deployment has one base "
                "model (INGRAIN_VLLM_MODEL)",
                model=ref.name,
            )
        if base.key not in self._tokenizers:
            folder = self._settings.scratch / "tokenizers"
            found = await fetch(
                self._storage, base, folder, self._settings, wanted=lambda name: not is_weights(name)
            )
            self._tokenizers[base.key] = await asyncio.to_thread(tokenizer_of, found)
        lora = None
        if ref.base:
            adapter = await fetch(self._storage, ref, self._settings.scratch / "models", self._settings)
            lora = self._adapters.request(ref, adapter)
        tokenizer, heads, vocabulary = self._tokenizers[base.key]
        self._known.add(ref.name)
        return Loaded(ref, Renderer(tokenizer, ref.chat_template, heads), vocabulary, lora)

    async def _answered(self, work: Callable[[], Awaitable[T]], schema: str = "") -> T | Refused:
        try:
            with self._place_taken():
                return await work()
        except Invalid as error:
            if schema and error.reason == "ENGINE_REFUSED":
                error = Invalid("BAD_SCHEMA", error.message, field="json_schema")
            return refused(error)
        except DomainError as error:
            return refused(error)

    @contextmanager
    def _place_taken(self) -> Iterator[None]:
        if self._queued >= self._settings.max_queued:
            raise Exhausted(
                "ENGINE_BUSY", f"{self._queued} requests are waiting; try again", 1.0, queued=self._queued
            )
        self._queued += 1
        try:
            yield
        finally:
            self._queued -= 1
