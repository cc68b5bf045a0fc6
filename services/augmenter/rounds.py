"""Prompts that are asked together, several calls at once; each is kept as it ends, whatever becomes of the others."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingrain import errors
from ingrain.v1 import common_pb2
from servicekit.pace import pace
from services.augmenter.generating import cost_of, may_go_well_in_halves
from services.augmenter.outputs import InOrder, Output, Outputs
from services.augmenter.planning import Planned
from services.augmenter.rates import ALL, Rate, Rates

if TYPE_CHECKING:
    from services.augmenter.asking import Asking


class Round:
    """Of one derivation, until each prompt has its output."""

    def __init__(self, asking: "Asking") -> None:
        self._asking = asking
        self._outputs = Outputs(
            asking.datasets.resources.database, asking.datasets.storage, asking.task.project
        )
        self._known: dict[str, Output] = {}
        self._keeping: set[asyncio.Task[None]] = set()
        self._in_order = InOrder(self._outputs, asking.task)
        self._took: dict[str, list[list[float]]] = {}  # by strategy, of each: tokens written, FLOPs, seconds
        self._asked = self._left = 0
        self._begun = time.monotonic()
        self._wanted: list[str] = []
        self._reused: set[str] = set()

    @property
    def prompt_count(self) -> int:
        return len(self._wanted)

    @property
    def reused_count(self) -> int:
        return sum(digest in self._reused for digest in self._wanted)

    def cost(self) -> common_pb2.Cost:
        return cost_of([output.usage for output in self._known.values()])

    async def ask(self, items: Sequence[Planned]) -> list[str]:
        """What is written to each; what is the same is asked once. What another derivation of this process is asking is
        waited for; where it gives up, it is asked here."""
        digests = self._asking.digests(items)
        self._wanted += digests
        under_way, project = self._asking.datasets.under_way, self._asking.task.project
        while missing := {d: i for d, i in zip(digests, items, strict=True) if d not in self._known}:
            self._left = len(missing)
            mine, theirs = under_way.claim(project, missing)
            try:
                await self._ask_mine({digest: missing[digest] for digest in mine})
            finally:
                under_way.release(project, mine)
            if theirs:
                await asyncio.wait(theirs)
        return [self._known[digest].text for digest in digests]

    async def _ask_mine(self, mine: dict[str, Planned]) -> None:
        """What was written before is looked for only now: nobody else can be writing it any more."""
        found = await self._outputs.find(list(mine))
        self._known |= found
        earlier = {d for d, output in found.items() if output.made_for == self._asking.task.target}
        self._reused |= found.keys() - earlier
        read = {mine[digest].ask.context_group for digest in earlier}
        self._asking.generator.counted |= {group for group in read if group is not None}
        self._left -= len(found)
        await self._tell()
        await self._ask_all({digest: item for digest, item in mine.items() if digest not in found})

    async def note_rates(self) -> None:
        """For later estimates."""
        task = self._asking.task
        found = {
            strategy: Rate(len(took), sum(written for written, *_ in took))
            for strategy, took in self._took.items()
        }
        if found:
            written, flops, seconds = (
                sum(part) for part in zip(*(one for took in self._took.values() for one in took), strict=True)
            )
            wall = time.monotonic() - self._begun
            found[ALL] = Rate(self._asked, written, flops, seconds, wall)
            rates = Rates(self._asking.datasets.resources.database, task.project)
            await rates.note(self._asking.model.sha256, task.target, found)

    async def _ask_all(self, missing: dict[str, Planned]) -> None:
        """Where a call fails no further one is begun; what is under way is waited for and kept, and then the failure is
        raised. A cancellation waits only for what is being kept."""
        if not missing:
            return
        left = self._asking.batches(list(missing.values()))
        failing = False
        digest_of_item = {id(item): digest for digest, item in missing.items()}

        async def one_after_another() -> None:
            nonlocal failing
            for batch in left:
                if failing:
                    return
                try:
                    await self._answer(batch, [digest_of_item[id(item)] for item in batch])
                except Exception:
                    failing = self._asking.generator.patience.ended = True
                    raise

        calls = [asyncio.create_task(one_after_another()) for _ in range(self._asking.settings.prompt_calls)]
        try:
            ended = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, *self._keeping, return_exceptions=True)
        if failed := [error for error in ended if error is not None]:
            raise failed[0]

    async def _answer(self, batch: list[Planned], digests: list[str]) -> None:
        """Asked, and kept at once. What is too much for one message, or for the time of one call, is asked in halves."""
        try:
            written = await self._asking.generator.write(batch)
        except (errors.Invalid, errors.DeadlineExceeded) as error:
            if len(batch) == 1 or not may_go_well_in_halves(error):
                raise
            middle = len(batch) // 2
            await self._answer(batch[:middle], digests[:middle])
            await self._answer(batch[middle:], digests[middle:])
            return
        target = self._asking.task.target
        kept = {digest: (one.text, one.usage) for digest, one in zip(digests, written, strict=True)}
        sights = {digest: self._asking.sight(item) for digest, item in zip(digests, batch, strict=True)}
        keeping = self._in_order.keep(batch[0].ask.context_group, kept, sights)
        self._keeping.add(keeping)
        await asyncio.shield(keeping)
        self._keeping.discard(keeping)
        self._asking.datasets.under_way.release(self._asking.task.project, digests)
        for item, digest, one in zip(batch, digests, written, strict=True):
            self._known[digest] = Output(one.text, tuple(one.usage), target)
            self._took.setdefault(item.strategy, []).append([one.token_count, *one.usage[3:]])
        self._asked += len(batch)
        self._left -= len(batch)
        await self._tell()

    async def _tell(self) -> None:
        said = [pace(self._asked, self._left, time.monotonic() - self._begun, "prompts")]
        if self._reused:
            said.append(f"{len(self._reused)} were there already")
        total = max(self.prompt_count, self._left)
        await self._asking.task.progress(
            "generating", total - self._left, total, "prompts", ", ".join(filter(None, said))
        )
