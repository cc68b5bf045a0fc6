"""One replica: models, contexts, and one thread that computes. Knows nothing of Ray or gRPC."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
import transformers

from servicekit.errors import DomainError, Exhausted, Invalid
from servicekit.storage import open_storage
from services.inference import generation, scoring
from services.inference.files import fetch
from services.inference.models import LoadedModel, ModelStore, compute_clock, placement
from services.inference.prefix import PrefixStore
from services.inference.render import Renderer
from services.inference.settings import InferenceSettings
from services.inference.wire import (
    CountCall,
    Facts,
    ForgetCall,
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


class Gone(Exception):
    """Whoever asked waits no longer; raised in the engine's thread, seen by nobody."""


@dataclass(frozen=True)
class Job:
    """A request at work: the model, what it has taken so far, and whether anybody still waits for it."""

    loaded: LoadedModel
    renderer: Renderer
    spent: Spent = field(default_factory=Spent)
    gone: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        if self.gone.is_set():
            raise Gone


class Engine:
    """Methods take and return values of `wire`; a domain error comes back as Refused, so that it survives any way.

    A cancelled method stops its work at the next step.
    """

    def __init__(self, settings: InferenceSettings) -> None:
        torch.set_num_threads(1)
        self._settings = settings
        self._storage = open_storage(settings)
        self._folder = settings.scratch / "models"
        self._folders: dict[str, Path] = {}
        self._models = ModelStore(settings, lambda ref: self._folders[ref.sha256])
        self._prefixes = PrefixStore(settings.cache_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._most_queued = settings.max_queued
        self._queued = 0

    async def facts(self) -> Facts:
        device, dtype = placement(self._settings)
        name = torch.cuda.get_device_name() if device == "cuda" else device
        return Facts(name, dtype, {"torch": torch.__version__, "transformers": transformers.__version__})

    async def score(self, call: ScoreCall) -> Scored | Refused:
        return await self._run(call.model, lambda job: self._score(job, call))

    async def generate(self, call: GenerateCall) -> Generated | Refused:
        return await self._run(call.model, lambda job: self._generate(job, call))

    async def count(self, call: CountCall) -> list[int] | Refused:
        return await self._run(call.model, lambda job: [job.renderer.count(text) for text in call.texts])

    async def prefill(self, call: PrefillCall) -> tuple[int, Spent] | Refused:
        """Tokens of the context, and what reading it took. Refuses one that leaves no room for a question."""
        return await self._run(call.model, lambda job: self._prefill(job, call))

    async def forget(self, call: ForgetCall) -> None:
        await asyncio.get_running_loop().run_in_executor(
            self._thread, self._prefixes.forget, call.context.sha256
        )

    async def stream(self, call: GenerateCall) -> AsyncIterator[Piece | Refused]:
        """Pieces of one continuation as they come; closing the iterator stops the work."""
        try:
            self._enter()
        except Exhausted as error:
            yield refused(error)
            return
        try:
            job = await self._job(call.model)
            writings, steps = await self._compute(job, lambda: self._begin(job, call))
            writing, shown = writings[0], 0
            while await self._compute(job, lambda: next(steps, job) is not job):
                text = held_back(writing.text, call.stop)
                if len(text) > shown:
                    yield Piece(text[shown:])
                    shown = len(text)
            yield Piece(writing.text[shown:], writing.finished, job.spent)
        except DomainError as error:
            yield refused(error)
        finally:
            self._queued -= 1

    async def _run(self, ref: ModelRef, work: Callable[[Job], T]) -> T | Refused:
        try:
            self._enter()
        except Exhausted as error:
            return refused(error)
        try:
            job = await self._job(ref)
            return await self._compute(job, lambda: work(job))
        except DomainError as error:
            return refused(error)
        finally:
            self._queued -= 1

    def _enter(self) -> None:
        if self._queued >= self._most_queued:
            raise Exhausted(
                "ENGINE_BUSY", f"{self._queued} requests are waiting; try again", 1.0, queued=self._queued
            )
        self._queued += 1

    async def _job(self, ref: ModelRef) -> Job:
        for needed in [ref, *([ref.base] if ref.base else [])]:
            if needed.sha256 not in self._folders:
                self._folders[needed.sha256] = await fetch(self._storage, needed, self._folder)
        loop = asyncio.get_running_loop()
        loaded = await loop.run_in_executor(self._thread, self._models.get, ref)
        return Job(loaded, Renderer(loaded.tokenizer, ref.chat_template, loaded.heads))

    async def _compute(self, job: Job, work: Callable[[], T]) -> T:
        """In the engine's one thread; the time counts as the job's."""

        def timed() -> T:
            job.go_on()
            clock = compute_clock(job.loaded)
            started = clock()
            try:
                return work()
            finally:
                job.spent.compute_s += clock() - started

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, timed)
        except asyncio.CancelledError:
            job.gone.set()
            raise

    def _score(self, job: Job, call: ScoreCall) -> Scored:
        documents = call.context.text if call.context else None
        items = [job.renderer.choices(documents, prompt, choices) for prompt, choices in call.items]
        for index, choices in enumerate(items):
            for number, choice in enumerate(choices):
                where = f"items[{index}].choices[{number}]"
                require_room(job.loaded, choice.ids, where)
                if not 0 < choice.begin < len(choice.ids):
                    raise Invalid(
                        "NOTHING_TO_SCORE",
                        f"{where} needs text, and the model must have read something before it",
                        field=where,
                    )
        sequences = [choices[0].ids[: scoring.shared_length(choices)] for choices in items]
        prefix = self._prefixes.prefix_of(job.loaded, job.renderer, call.context, sequences, job.spent)
        scores = []
        for batch in scoring.score(job.loaded, prefix, items, job.spent):
            scores.extend(batch)
            job.go_on()
        return Scored(scores, job.spent)

    def _generate(self, job: Job, call: GenerateCall) -> Generated:
        writings, steps = self._begin(job, call)
        for _ in steps:
            job.go_on()
        return Generated(
            [writing.text for writing in writings],
            [len(writing.ids) for writing in writings],
            [writing.finished for writing in writings],
            job.spent,
        )

    def _begin(self, job: Job, call: GenerateCall) -> tuple[list[generation.Writing], Iterator[None]]:
        documents = call.context.text if call.context else None
        prompts = [job.renderer.prompt(documents, prompt) for prompt in call.prompts]
        for index, ids in enumerate(prompts):
            require_room(job.loaded, ids, f"prompts[{index}]")
            if not ids:
                raise Invalid("EMPTY_PROMPT", f"prompt {index} has no tokens", field=f"prompts[{index}]")
        prefix = self._prefixes.prefix_of(job.loaded, job.renderer, call.context, prompts, job.spent)
        writings = generation.start(job.loaded, call, prompts)
        return writings, generation.generate(job.loaded, prefix, call, writings, job.spent)

    def _prefill(self, job: Job, call: PrefillCall) -> tuple[int, Spent]:
        ids, window = job.renderer.context(call.context.text), job.loaded.ref.context_window
        if len(ids) >= window:
            raise Invalid(
                "CONTEXT_TOO_LONG",
                f"the documents have {len(ids)} tokens and {job.loaded.ref.name} can take {window}; "
                "select fewer, group them, or take a model with a longer window",
                field="context",
                token_count=len(ids),
                context_window=window,
            )
        if not job.loaded.shares_rows:
            return len(ids), Spent()
        # What reading took is the context's cost, also where it was read before for another one.
        return len(ids), self._prefixes.hold(job.loaded, job.renderer, call.context, job.spent).reading


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
    kept = len(text)
    for stop in stops:
        for length in range(min(len(stop), len(text)), 0, -1):
            if text.endswith(stop[:length]):
                kept = min(kept, len(text) - length)
                break
    return text[:kept]


def refused(error: DomainError) -> Refused:
    return Refused(
        error.reason,
        error.message,
        getattr(error, "field", ""),
        error.metadata,
        type(error).__name__,
        getattr(error, "retry_after_s", 0.0),
    )
