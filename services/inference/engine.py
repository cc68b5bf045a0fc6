"""One replica: models, contexts, and one thread that computes. Knows nothing of Ray or gRPC."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

from servicekit.errors import DomainError, Exhausted, Invalid
from servicekit.storage import open_storage
from services.inference import generation, scoring
from services.inference.files import fetch
from services.inference.models import LoadedModel, ModelStore
from services.inference.prefix import PrefixStore
from services.inference.render import Rendered, Renderer
from services.inference.settings import InferenceSettings
from services.inference.wire import (
    CountCall,
    GenerateCall,
    Generated,
    ModelRef,
    Piece,
    PrefillCall,
    Refused,
    ScoreCall,
    Scored,
    Spent,
)

T = TypeVar("T")


class Engine:
    """Methods take and return values of `wire`; a domain error comes back as Refused, so that it survives any way."""

    def __init__(self, settings: InferenceSettings) -> None:
        torch.set_num_threads(1)
        self._storage = open_storage(settings)
        self._folder = settings.scratch / "models"
        self._folders: dict[str, Path] = {}
        self._models = ModelStore(settings.model_bytes, lambda ref: self._folders[ref.sha256])
        self._prefixes = PrefixStore(settings.cache_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._most_queued = settings.max_queued
        self._queued = 0

    async def score(self, call: ScoreCall) -> Scored | Refused:
        return await self._run(call.model, lambda loaded, spent: self._score(loaded, call, spent))

    async def generate(self, call: GenerateCall) -> Generated | Refused:
        return await self._run(call.model, lambda loaded, spent: self._generate(loaded, call, spent))

    async def count(self, call: CountCall) -> list[int] | Refused:
        return await self._run(
            call.model, lambda loaded, _: [renderer(loaded).count(text) for text in call.texts]
        )

    async def prefill(self, call: PrefillCall) -> tuple[int, Spent] | Refused:
        """Tokens of the context, and what reading it took. Refuses one that leaves no room for a question."""
        return await self._run(call.model, lambda loaded, spent: self._prefill(loaded, call, spent))

    async def stream(self, call: GenerateCall) -> AsyncIterator[Piece | Refused]:
        """Pieces of one continuation as they come; closing the iterator stops the work."""
        loop = asyncio.get_running_loop()
        try:
            loaded = await self._loaded(call.model)
            spent = Spent()
            writing, steps = await loop.run_in_executor(self._thread, self._begin_stream, loaded, call, spent)
            shown = 0
            while await loop.run_in_executor(self._thread, self._timed_step, steps, spent):
                text = held_back(writing.text, call.stop)
                if len(text) > shown:
                    yield Piece(text[shown:])
                    shown = len(text)
            yield Piece(writing.text[shown:], writing.finished, spent)
        except DomainError as error:
            yield refused(error)

    async def _run(self, ref: ModelRef, work: Callable[[LoadedModel, Spent], T]) -> T | Refused:
        if self._queued >= self._most_queued:
            return refused(Exhausted("ENGINE_BUSY", f"{self._queued} requests are waiting; try again", 1.0))
        self._queued += 1
        try:
            loaded = await self._loaded(ref)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._timed, work, loaded)
        except DomainError as error:
            return refused(error)
        finally:
            self._queued -= 1

    def _timed(self, work: Callable[[LoadedModel, Spent], T], loaded: LoadedModel) -> T:
        spent, started = Spent(), time.perf_counter()
        result = work(loaded, spent)
        spent.compute_s = time.perf_counter() - started
        return result

    async def _loaded(self, ref: ModelRef) -> LoadedModel:
        for needed in [ref, *([ref.base] if ref.base else [])]:
            if needed.sha256 not in self._folders:
                self._folders[needed.sha256] = await fetch(self._storage, needed, self._folder)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._models.get, ref)

    def _score(self, loaded: LoadedModel, call: ScoreCall, spent: Spent) -> Scored:
        texts = renderer(loaded)
        documents = call.context.text if call.context else None
        items = [texts.choices(documents, prompt, choices) for prompt, choices in call.items]
        for index, choices in enumerate(items):
            for number, choice in enumerate(choices):
                require_room(loaded, choice.ids, f"items[{index}].choices[{number}]")
                if not 0 < choice.begin < len(choice.ids):
                    raise Invalid(
                        "NOTHING_TO_SCORE",
                        "a choice needs text, and something must stand before it",
                        field=f"items[{index}].choices[{number}]",
                    )
        sequences = [choices[0].ids[: scoring.shared_length(choices)] for choices in items]
        prefix = self._prefixes.prefix_of(loaded, texts, call.context, sequences, spent)
        return Scored(scoring.score(loaded, prefix, items, spent), spent)

    def _generate(self, loaded: LoadedModel, call: GenerateCall, spent: Spent) -> Generated:
        writings, steps = self._begin(loaded, call, spent)
        for _ in steps:
            pass
        return Generated(
            [writing.text for writing in writings],
            [len(writing.ids) for writing in writings],
            [writing.finished for writing in writings],
            spent,
        )

    def _begin(
        self, loaded: LoadedModel, call: GenerateCall, spent: Spent
    ) -> tuple[list[generation.Writing], Iterator[None]]:
        texts = renderer(loaded)
        documents = call.context.text if call.context else None
        prompts: list[Rendered] = [texts.prompt(documents, prompt) for prompt in call.prompts]
        for index, prompt in enumerate(prompts):
            require_room(loaded, prompt.ids, f"prompts[{index}]")
        prefix = self._prefixes.prefix_of(loaded, texts, call.context, [p.ids for p in prompts], spent)
        writings = generation.start(loaded, call, [prompt.ids for prompt in prompts])
        return writings, generation.generate(loaded, prefix, call, writings, spent)

    def _begin_stream(
        self, loaded: LoadedModel, call: GenerateCall, spent: Spent
    ) -> tuple[Any, Iterator[None]]:
        writings, steps = self._begin(loaded, call, spent)
        return writings[0], steps

    def _timed_step(self, steps: Iterator[None], spent: Spent) -> bool:
        started = time.perf_counter()
        going = next(steps, self) is not self
        spent.compute_s += time.perf_counter() - started
        return going

    def _prefill(self, loaded: LoadedModel, call: PrefillCall, spent: Spent) -> tuple[int, Spent]:
        texts = renderer(loaded)
        ids = texts.context(call.context.text)
        if len(ids) >= loaded.ref.context_window:
            raise Invalid(
                "CONTEXT_TOO_LONG",
                f"the documents have {len(ids)} tokens and {loaded.ref.name} can take {loaded.ref.context_window}; "
                "select fewer, group them, or take a model with a longer window",
                field="context",
                token_count=len(ids),
                context_window=loaded.ref.context_window,
            )
        if loaded.shares_rows:
            self._prefixes.hold(loaded, texts, call.context, spent)
        return len(ids), spent


def renderer(loaded: LoadedModel) -> Renderer:
    return Renderer(loaded.tokenizer, loaded.ref.chat_template)


def require_room(loaded: LoadedModel, ids: list[int], field: str) -> None:
    if len(ids) > loaded.ref.context_window:
        raise Invalid(
            "PROMPT_TOO_LONG",
            f"{field} has {len(ids)} tokens with its context and {loaded.ref.name} can take {loaded.ref.context_window}",
            field=field,
            token_count=len(ids),
            context_window=loaded.ref.context_window,
        )


def held_back(text: str, stops: list[str]) -> str:
    """Without an ending that may become a stop string."""
    for stop in stops:
        for length in range(min(len(stop), len(text)), 0, -1):
            if text.endswith(stop[:length]):
                text = text[:-length]
                break
    return text


def refused(error: DomainError) -> Refused:
    return Refused(
        error.reason, error.message, getattr(error, "field", ""), error.metadata, type(error).__name__
    )
