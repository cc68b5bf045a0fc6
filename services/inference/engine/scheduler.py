"""The one thread that computes: takes requests in, sees to the contexts that they read, and moves every model's sequences on."""

import queue
import threading
from dataclasses import dataclass, field, replace

import structlog
import torch

from servicekit.errors import DomainError
from services.inference.engine.lanes import Lane, Request
from services.inference.engine.models import LoadedModel, Weights
from services.inference.engine.prefix import Held, Prefix, PrefixStore, key_of
from services.inference.engine.reading import Reading
from services.inference.settings import InferenceSettings
from services.inference.wire import Spent

log = structlog.get_logger()


@dataclass(frozen=True)
class Wanted:
    """A context that a request's sequences read: its tokens, as many of which as they all begin with.

    `name` finds it again when it is to be forgotten.
    """

    loaded: LoadedModel
    ids: list[int]
    shared: int
    name: str
    pinned: bool = False

    @property
    def key(self) -> str:
        return key_of(self.loaded.ref.key, str(self.loaded.model.dtype), self.ids)


@dataclass(eq=False)
class _Read:
    """A context under way, and who waits for it."""

    wanted: Wanted
    reading: Reading
    waiting: list[tuple[Request, Wanted]] = field(default_factory=list)


@dataclass(frozen=True)
class Work:
    request: Request
    weights: Weights
    wanted: Wanted | None = None


@dataclass(frozen=True)
class Forget:
    name: str


class Scheduler:
    def __init__(self, settings: InferenceSettings, prefixes: PrefixStore) -> None:
        self._settings = settings
        self.prefixes = prefixes
        self._inbox: queue.SimpleQueue[Work | Forget | None] = queue.SimpleQueue()
        self._lanes: dict[Weights, Lane] = {}
        self._reads: dict[str, _Read] = {}
        self._keys_of: dict[str, set[str]] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        self._inbox.put(work)

    def forget(self, name: str) -> None:
        self._inbox.put(Forget(name))

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join(timeout=10)

    @property
    def counts(self) -> tuple[int, int]:
        """Sequences at work, and such that wait."""
        lanes = list(self._lanes.values())
        waiting = sum(
            len(request.sequences) for read in list(self._reads.values()) for request, _ in read.waiting
        )
        return sum(lane.running_count for lane in lanes), waiting + sum(lane.waiting_count for lane in lanes)

    @torch.inference_mode()
    def _run(self) -> None:
        while self._take():
            for weights, lane in list(self._lanes.items()):
                if not lane.busy:
                    del self._lanes[weights]
                    continue
                try:
                    lane.step()
                except Exception as error:  # those at work fail, the engine lives
                    log.error("step_failed", exc_info=error)
                    del self._lanes[weights]
                    lane.fail(error)

    def _take(self) -> bool:
        """What has come; waits where there is nothing else to do. False: the end."""
        while True:
            try:
                work = self._inbox.get(block=not self._lanes)
            except queue.Empty:
                return True
            if work is None:
                return False
            if isinstance(work, Forget):
                for key in self._keys_of.pop(work.name, set()):
                    self.prefixes.forget(key)
                continue
            try:
                self._begin(work)
            except Exception as error:
                if not isinstance(error, DomainError):
                    log.error("request_failed", exc_info=error)
                work.request.ended(error)

    def _begin(self, work: Work) -> None:
        if work.wanted is None:
            self._start(work.request, work.weights)
            return
        wanted, key = work.wanted, work.wanted.key
        self._keys_of.setdefault(wanted.name, set()).add(key)
        read = self._reads.get(key)
        held = self.prefixes.find(key, wanted.ids) if read is None else None
        if held is not None:
            self._start_behind(work.request, wanted, held)
            return
        if read is None:
            size = len(wanted.ids) * wanted.loaded.weights.bytes_per_token
            self.prefixes.require_room(size, pinned=wanted.pinned and not work.request.sequences)
            read = self._reads[key] = _Read(wanted, Reading(wanted.loaded, Spent(), ids=wanted.ids))
            self._start(self._reading_request(key, read, work.request), work.weights)
        read.waiting.append((work.request, wanted))

    def _reading_request(self, key: str, read: _Read, first: Request) -> Request:
        return Request(
            [read.reading],
            read.reading.spent,
            lambda error: self._read_ended(key, error),
            bulk=first.bulk,
            gone=_AllGone(read),
        )

    def _read_ended(self, key: str, error: Exception | None) -> None:
        read = self._reads.pop(key)
        if error is not None or read.reading.layers is None:
            for request, _ in read.waiting:
                request.ended(error)
            return
        spent = read.reading.spent
        held = Held(read.wanted.ids, read.reading.layers, replace(spent))
        self.prefixes.put(key, held)
        payer = read.waiting[0][0].spent  # whoever caused it
        payer.prompt_tokens += spent.prompt_tokens
        payer.flops += spent.flops
        payer.compute_s += spent.compute_s
        for request, wanted in read.waiting:
            try:
                self._start_behind(request, wanted, held)
            except DomainError as problem:
                request.ended(problem)

    def _start_behind(self, request: Request, wanted: Wanted, held: Held) -> None:
        # A question is answered also where there is no room to pin what it reads; who asks for nothing but the context is refused.
        if wanted.pinned and (not request.sequences or self.prefixes.has_room_to_pin(wanted.key, held)):
            self.prefixes.pin(wanted.key, held)
        for sequence in request.sequences:
            sequence.begin_behind(Prefix(held, wanted.shared))
        request.held = held
        self._start(request, wanted.loaded.weights)

    def _start(self, request: Request, weights: Weights) -> None:
        if not request.sequences:  # only the context was wanted
            request.ended(None)
            return
        if weights not in self._lanes:
            self._lanes[weights] = Lane(weights, self._settings)
        self._lanes[weights].add(request)


class _AllGone:
    """Set when nobody waits for a context any longer."""

    def __init__(self, read: _Read) -> None:
        self._read = read

    def is_set(self) -> bool:
        return bool(self._read.waiting) and all(request.gone.is_set() for request, _ in self._read.waiting)
