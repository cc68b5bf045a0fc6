"""Sequences of one model at work together: each step takes what is due of all of them into one forward pass.

Sequences that write go first, a token each; what is left of the pass is given to those that read, in turn between requests, so
that a long one holds nobody up. While somebody interactive waits for tokens, reading gets small parts. Bulk requests get what
interactive ones leave.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from servicekit.errors import DomainError
from services.inference.engine.models import Weights, compute_clock
from services.inference.engine.passes import Entry, Feed, forward
from services.inference.engine.prefix import Held
from services.inference.engine.sequences import Sequence
from services.inference.engine.shelves import Shelves
from services.inference.settings import InferenceSettings
from services.inference.wire import Spent

READ_BESIDE = 256  # tokens read in a pass in which somebody waits for the next token
BULK_BESIDE = 64  # and of bulk requests
MOST_LOGITS = 1 << 26  # numbers that the head gives in one pass
log = structlog.get_logger()


class Gone(Protocol):
    def is_set(self) -> bool: ...


@dataclass(eq=False)
class Request:
    """Sequences that belong together. `ended` is called once, `progressed` after each step that moved it on, both from the
    engine's thread. When `gone` is set nobody waits any longer."""

    sequences: list[Sequence]
    spent: Spent
    ended: Callable[[Exception | None], None]
    progressed: Callable[[], None] = lambda: None
    bulk: bool = False
    gone: Gone = field(default_factory=threading.Event)
    held: Held | None = None  # the context that its sequences stand behind

    def __post_init__(self) -> None:
        self.waiting: deque[Sequence] = deque(self.sequences)
        self.running: list[Sequence] = []

    @property
    def left(self) -> bool:
        return bool(self.waiting or self.running)


class Lane:
    """Of one model's weights. Used by one thread."""

    def __init__(self, weights: Weights, settings: InferenceSettings) -> None:
        self.weights = weights
        self._settings = settings
        self._shelves = Shelves()
        self._requests: deque[Request] = deque()
        self._clock = compute_clock(weights.model.device.type)

    @property
    def busy(self) -> bool:
        return bool(self._requests)

    @property
    def running_count(self) -> int:
        return sum(len(request.running) for request in self._requests)

    @property
    def waiting_count(self) -> int:
        return sum(len(request.waiting) for request in self._requests)

    def add(self, request: Request) -> None:
        self._requests.append(request)

    def step(self) -> None:
        self._drop_gone()
        if not self.weights.shares_rows:
            self._step_alone()
            return
        chosen = self._chosen()
        if chosen:
            self._pass(chosen)
        self._end_done()

    def _pass(self, chosen: list[tuple[Request, Sequence, Feed]]) -> None:
        started = self._clock()
        entries = [
            Entry(
                feed,
                sequence.tail,
                sequence.prefix.held.layers if sequence.prefix.held else None,
                sequence.prefix.length,
                sequence.loaded.adapter,
                sequence.room,
            )
            for _, sequence, feed in chosen
        ]
        try:
            logits = forward(self.weights.model, self._shelves, entries)
        except Exception as error:
            log.error("pass_failed", exc_info=error)
            for request in {id(request): request for request, _, _ in chosen}.values():
                self._end(request, error)
            return
        taken: list[tuple[Request, float]] = []
        for (request, sequence, _), logits_WV in zip(chosen, logits, strict=True):
            before = sequence.spent.flops
            try:
                sequence.receive(logits_WV)
            except DomainError as error:
                self._end(request, error)
            taken.append((request, sequence.spent.flops - before))
        self._share(self._clock() - started, taken)

    def _share(self, seconds: float, taken: list[tuple[Request, float]]) -> None:
        """A pass's time goes to requests by what they had computed in it."""
        whole = sum(flops for _, flops in taken)
        for request, flops in taken:
            request.spent.compute_s += seconds * (flops / whole if whole else 1 / len(taken))

    def _chosen(self) -> list[tuple[Request, Sequence, Feed]]:
        chosen, waited_for = [], False
        for request in self._requests:
            for sequence in request.running:
                if sequence.writing and (feed := sequence.next(1, 1)):
                    chosen.append((request, sequence, feed))
                    waited_for |= not request.bulk
        read = READ_BESIDE if waited_for else self._settings.pass_tokens
        for bulk in (False, True):
            most = min(read, BULK_BESIDE) if bulk and waited_for else read
            read -= self._read(chosen, most, bulk)
        return chosen

    def _read(self, chosen: list[tuple[Request, Sequence, Feed]], most: int, bulk: bool) -> int:
        """Adds parts of prompts, questions and contexts, at most `most` tokens; how many it were."""
        left, rows = most, sum(len(feed.wanted) for _, _, feed in chosen)
        most_rows = max(1, MOST_LOGITS // self.weights.vocabulary_size)
        turn = deque(request for request in self._requests if request.bulk is bulk)
        begun = {id(request): deque(s for s in request.running if not s.writing) for request in turn}
        while turn and left > 0:
            request = turn.popleft()
            under_way = begun[id(request)]
            sequence = under_way.popleft() if under_way else request.waiting[0] if request.waiting else None
            if sequence is None:
                continue
            feed = sequence.next(left, most)
            if feed is None or (chosen and rows + len(feed.wanted) > most_rows):
                continue
            if feed.kept and sequence not in request.running and not self._room_for(sequence):
                continue
            if sequence not in request.running:
                request.running.append(request.waiting.popleft())
            chosen.append((request, sequence, feed))
            left -= len(feed.tokens)
            rows += len(feed.wanted)
            turn.append(request)
        # Who came first this time comes later next time.
        self._requests.rotate(-1)
        return most - left

    def _room_for(self, sequence: Sequence) -> bool:
        """Whether one more sequence that keeps something may begin. One always may."""
        running = [s for request in self._requests for s in request.running]
        if not running:
            return True
        tokens = sum(s.room[0] for s in running) + sequence.room[0]
        return (
            len(running) < self._settings.running_count
            and tokens * self.weights.bytes_per_token <= self._settings.running_bytes
        )

    def _step_alone(self) -> None:
        request = self._requests[0]
        self._requests.rotate(-1)
        if request.bulk and any(not other.bulk for other in self._requests):
            return
        started = self._clock()
        if not request.running and request.waiting:
            request.running.append(request.waiting.popleft())
        try:
            for sequence in request.running[:1]:
                if not sequence.done:
                    sequence.alone()
        except Exception as error:
            self._end(request, error)
        request.spent.compute_s += self._clock() - started
        self._end_done()

    def _end_done(self) -> None:
        for request in list(self._requests):
            for sequence in [s for s in request.running if s.done]:
                request.running.remove(sequence)
                self._shelves.drop(sequence.tail)
            while request.waiting and request.waiting[0].done:
                request.waiting.popleft()
            if request.left:
                request.progressed()
            else:
                self._end(request, None)

    def fail(self, error: Exception) -> None:
        """All that are at work end with it."""
        for request in list(self._requests):
            self._requests.remove(request)
            request.ended(error)

    def _drop_gone(self) -> None:
        for request in [request for request in self._requests if request.gone.is_set()]:
            self._end(request, None)

    def _end(self, request: Request, error: Exception | None) -> None:
        if request not in self._requests:
            return
        self._requests.remove(request)
        for sequence in request.running:
            self._shelves.drop(sequence.tail)
        request.running.clear()
        request.waiting.clear()
        request.ended(error)
