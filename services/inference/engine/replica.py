"""One replica's methods: what a call needs is prepared here, and computed by the scheduler's thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
import transformers

from servicekit.errors import DomainError, Exhausted, Invalid
from servicekit.storage import open_storage
from services.inference.engine import writing
from services.inference.engine.files import fetch
from services.inference.engine.lanes import Request
from services.inference.engine.models import LoadedModel, ModelStore, compute_clock, placement
from services.inference.engine.prefix import PrefixStore
from services.inference.engine.render import Renderer, common_prefix
from services.inference.engine.scheduler import Scheduler, Wanted, Work
from services.inference.engine.scoring import Question
from services.inference.engine.sequences import Sequence
from services.inference.settings import InferenceSettings
from services.inference.wire import (
    ContextRef,
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
    Refused,
    ScoreCall,
    Scored,
    Spent,
    TokenPrompt,
    refused,
)

T = TypeVar("T")


@dataclass
class Prepared:
    """A call's sequences, and the context that they read."""

    loaded: LoadedModel
    sequences: list[Sequence]
    wanted: Wanted | None
    spent: Spent


class Engine:
    """Methods take and return values of `wire`; a domain error comes back as Refused, so that it survives any way.

    A cancelled method stops its work at the next step.
    """

    def __init__(self, settings: InferenceSettings) -> None:
        torch.set_num_threads(1)
        self._settings = settings
        self._device, self._dtype = placement(settings)
        self._storage = open_storage(settings)
        self._folder = settings.scratch / "models"
        self._folders: dict[str, Path] = {}
        self._models = ModelStore(settings, lambda ref: self._folders[ref.sha256])
        prefixes = PrefixStore(
            settings.cache_bytes, settings.scratch / "contexts", settings.spill_bytes, self._device
        )
        self._scheduler = Scheduler(settings, prefixes)
        # Models are loaded and texts tokenised beside the thread that computes.
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._queued = 0

    async def facts(self) -> Facts:
        name = torch.cuda.get_device_name() if self._device == "cuda" else self._device
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        prefixes, (running, waiting) = self._scheduler.prefixes, self._scheduler.counts
        spilled_count, spilled_bytes = prefixes.spilled
        held = Held(
            held_context_count=prefixes.count,
            held_context_bytes=prefixes.used_bytes,
            cache_bytes_limit=prefixes.budget_bytes,
            spilled_context_count=spilled_count,
            spilled_context_bytes=spilled_bytes,
            pinned_context_bytes=prefixes.pinned_bytes,
            models=self._models.names,
            model_bytes=self._models.used_bytes,
            running_count=running,
            waiting_count=waiting,
        )
        return Facts(name, self._dtype, versions, held)

    async def score(self, call: ScoreCall) -> Scored | Refused:
        async def work() -> Scored:
            prepared = await self._prepared(
                call.model, lambda loaded, spent: self._questions(loaded, call, spent)
            )
            await self._computed(prepared, bulk=call.bulk)
            scores = [question.scores for question in prepared.sequences if isinstance(question, Question)]
            return Scored(scores, prepared.spent)

        return await self._answered(work)

    async def generate(self, call: GenerateCall) -> Generated | Refused:
        async def work() -> Generated:
            prepared = await self._prepared(
                call.model, lambda loaded, spent: self._writings(loaded, call, spent)
            )
            await self._computed(prepared, bulk=call.bulk)
            written = [one.continuation for one in prepared.sequences if isinstance(one, writing.Writing)]
            return Generated(written, prepared.spent)

        return await self._answered(work)

    async def count(self, call: CountCall) -> list[int] | Refused:
        async def work() -> list[int]:
            loaded = await self._loaded(call.model)
            renderer = Renderer(loaded.tokenizer, call.model.chat_template, loaded.heads)
            return await self._beside(lambda: [renderer.count(text) for text in call.texts])

        return await self._answered(work)

    async def prefill(self, call: PrefillCall) -> Prefilled | Refused:
        """Reads a context that leaves room for a question. What reading took is its cost, also where it was read before."""

        async def work() -> Prefilled:
            prepared = await self._prepared(
                call.model, lambda loaded, spent: self._context(loaded, call, spent)
            )
            loaded, wanted = prepared.loaded, prepared.wanted
            assert wanted is not None
            if not loaded.shares_rows:
                return Prefilled(len(wanted.ids), 0, Spent())
            request = await self._computed(prepared)
            assert request.held is not None
            return Prefilled(len(wanted.ids), request.held.size_bytes, replace(request.held.reading))

        return await self._answered(work)

    async def forget(self, call: ForgetCall) -> None:
        self._scheduler.forget(call.context.sha256)

    async def stream(self, call: GenerateCall) -> AsyncIterator[Piece | Refused]:
        """Pieces of one continuation as they come; closing the iterator stops the work."""
        try:
            with self._place():
                prepared = await self._prepared(
                    call.model, lambda loaded, spent: self._writings(loaded, call, spent)
                )
                (one,) = prepared.sequences
                assert isinstance(one, writing.Writing)
                shown, told = 0, 0
                progress = asyncio.Event()
                computing = asyncio.ensure_future(self._computed(prepared, progress, bulk=call.bulk))
                computing.add_done_callback(lambda _: progress.set())
                try:
                    while not computing.done():
                        await progress.wait()
                        progress.clear()
                        text, count = held_back(one.text, call.stop), len(one.tokens)
                        if not computing.done() and (len(text) > shown or count > told):
                            yield Piece(text[shown:], tokens=one.tokens[told:count])
                            shown, told = max(shown, len(text)), count
                    await computing
                finally:
                    computing.cancel()
                yield Piece(one.text[shown:], one.finished, prepared.spent, one.tokens[told:])
        except DomainError as error:
            yield refused(error)

    async def _answered(self, work: Callable[[], "asyncio.Future[T] | object"]) -> T | Refused:
        try:
            with self._place():
                return await work()  # type: ignore[misc, no-any-return]
        except DomainError as error:
            return refused(error)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Among those that the engine has taken on."""
        if self._queued >= self._settings.max_queued:
            raise Exhausted(
                "ENGINE_BUSY", f"{self._queued} requests are waiting; try again", 1.0, queued=self._queued
            )
        self._queued += 1
        try:
            yield
        finally:
            self._queued -= 1

    async def _loaded(self, ref: ModelRef) -> LoadedModel:
        for needed in [ref, *([ref.base] if ref.base else [])]:
            if needed.sha256 not in self._folders:
                self._folders[needed.sha256] = await fetch(
                    self._storage, needed, self._folder, self._settings
                )
        return await self._beside(lambda: self._models.get(ref))

    async def _prepared(self, ref: ModelRef, make: Callable[[LoadedModel, Spent], Prepared]) -> Prepared:
        loaded = await self._loaded(ref)

        def timed() -> Prepared:
            clock, spent = compute_clock("cpu"), Spent()
            started = clock()
            prepared = make(loaded, spent)
            spent.compute_s += clock() - started
            return prepared

        return await self._beside(timed)

    async def _beside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._preparing, work)

    async def _computed(
        self, prepared: Prepared, progress: asyncio.Event | None = None, *, bulk: bool = False
    ) -> Request:
        """Waits until the call's sequences are done; `progress` is set whenever they may have moved on."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            if not ended.done():
                ended.set_result(None) if error is None else ended.set_exception(error)

        request = Request(
            prepared.sequences,
            prepared.spent,
            ended=lambda error: call_soon(loop, lambda: tell(error)),
            progressed=(lambda: call_soon(loop, progress.set)) if progress else (lambda: None),
            bulk=bulk,
        )
        self._scheduler.submit(Work(request, prepared.loaded.weights, prepared.wanted))
        try:
            await ended
        finally:
            request.gone.set()
        return request

    def _questions(self, loaded: LoadedModel, call: ScoreCall, spent: Spent) -> Prepared:
        renderer = Renderer(loaded.tokenizer, call.model.chat_template, loaded.heads)
        documents = call.context.text if call.context else None
        items = [renderer.choices(documents, prompt, choices) for prompt, choices in call.items]
        for index, choices in enumerate(items):
            for number, choice in enumerate(choices):
                where = f"items[{index}].choices[{number}]"
                require_room(loaded, len(choice.ids), where)
                if not 0 < choice.begin < len(choice.ids):
                    raise Invalid(
                        "NOTHING_TO_SCORE",
                        f"{where} needs text, and the model must have read something before it",
                        field=where,
                    )
        questions = [Question(loaded, spent, choices=choices) for choices in items]
        wanted = None
        if documents is not None:
            trunks = [question.choices[0].ids[: question.trunk] for question in questions]
            wanted = self._wanted(loaded, renderer.context(documents), call.context, trunks)
        return Prepared(loaded, list(questions), wanted, spent)

    def _writings(self, loaded: LoadedModel, call: GenerateCall, spent: Spent) -> Prepared:
        renderer = Renderer(loaded.tokenizer, call.model.chat_template, loaded.heads)
        documents = call.context.text if call.context else None
        prompts = []
        for index, prompt in enumerate(call.prompts):
            where = f"prompts[{index}]"
            if isinstance(prompt, TokenPrompt):
                require_known(loaded, prompt, where)
            ids = renderer.prompt(documents, prompt)
            require_room(loaded, len(ids), where)
            if not ids:
                raise Invalid("EMPTY_PROMPT", f"prompt {index} has no tokens", field=where)
            prompts.append(ids)
        writings = writing.start(loaded, call, prompts, spent)
        # Whose own tokens are asked for reads all of them.
        wanted = None
        if documents is not None and not call.prompt_logprobs:
            ids = renderer.beginning(documents, call.prompts[0])
            wanted = self._wanted(loaded, ids, call.context, prompts)
        return Prepared(loaded, list(writings), wanted, spent)

    def _context(self, loaded: LoadedModel, call: PrefillCall, spent: Spent) -> Prepared:
        renderer = Renderer(loaded.tokenizer, call.model.chat_template, loaded.heads)
        ids, window = renderer.context(call.context.text), call.model.context_window
        if len(ids) >= window:
            raise Invalid(
                "CONTEXT_TOO_LONG",
                f"the documents have {len(ids)} tokens and {call.model.name} can take {window}; "
                "select fewer, group them, or take a model with a longer window",
                field="context",
                token_count=len(ids),
                context_window=window,
            )
        wanted = Wanted(loaded, ids, 0, call.context.sha256, call.context.pinned)
        return Prepared(loaded, [], wanted, spent)

    def _wanted(
        self, loaded: LoadedModel, ids: list[int], context: ContextRef | None, sequences: list[list[int]]
    ) -> Wanted | None:
        """As much of the context's tokens as `sequences` begin with; each keeps at least one token of its own."""
        if context is None or not loaded.shares_rows:
            return None
        shared = min(min(common_prefix(ids, one), len(one) - 1) for one in sequences)
        return Wanted(loaded, ids, shared, context.sha256, context.pinned) if shared else None


def call_soon(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """From another thread; a loop that has ended hears nothing."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)


def require_room(loaded: LoadedModel, token_count: int, field: str) -> None:
    if token_count > loaded.ref.context_window:
        raise Invalid(
            "PROMPT_TOO_LONG",
            f"{field} has {token_count} tokens with its context and {loaded.ref.name} can take {loaded.ref.context_window}",
            field=field,
            token_count=token_count,
            context_window=loaded.ref.context_window,
        )


def require_known(loaded: LoadedModel, prompt: TokenPrompt, field: str) -> None:
    most = loaded.weights.vocabulary_size
    for place, token in enumerate(prompt.ids):
        if not 0 <= token < most:
            raise Invalid(
                "UNKNOWN_TOKEN",
                f"{field}: token {place} is {token}, and {loaded.ref.name} knows 0 to {most - 1}",
                field=field,
            )


def held_back(text: str, stops: list[str]) -> str:
    """Without an ending that may become a stop string."""
    kept = len(text)
    for stop in stops:
        for length in range(min(len(stop), len(text)), 0, -1):
            if text.endswith(stop[:length]):
                kept = min(kept, len(text) - length)
                break
    return text[:kept]
