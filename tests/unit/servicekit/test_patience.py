"""Calls that are made again: what passes is waited for, what does not is raised at once."""

import asyncio
import time
from collections.abc import Callable

import pytest

from ingrain.errors import DeadlineExceeded
from servicekit import patience
from servicekit.errors import Exhausted, Invalid, Unavailable
from servicekit.patience import Patience

AWAY = Unavailable("AWAY", "away")
FULL = Exhausted("FULL", "full", 0.001)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(patience, "LONGEST_WAIT_S", 0.002)


def failing(*problems: Exception) -> Callable:
    left = list(problems)

    async def call() -> int:
        if left:
            raise left.pop(0)
        return 7

    return call


async def test_what_passes_is_waited_for() -> None:
    assert await Patience().ask(failing(AWAY, FULL, AWAY)) == 7


@pytest.mark.parametrize("problem", [Invalid("WRONG", "wrong", field="x"), Exhausted("NEVER", "never fits")])
async def test_what_does_not_pass_is_raised_at_once(problem: Exception) -> None:
    call = failing(problem)
    with pytest.raises(type(problem)):
        await Patience().ask(call)
    assert await call() == 7  # asked once


async def test_patience_ends_where_nobody_is_answered() -> None:
    calm = Patience(0.0)
    with pytest.raises(Unavailable):
        await calm.ask(failing(AWAY))
    calm = Patience(60.0)
    calm.ended = True
    with pytest.raises(Unavailable):
        await calm.ask(failing(AWAY))


async def test_neither_work_nor_a_time_without_calls_is_silence() -> None:
    calm = Patience(0.05)
    await asyncio.sleep(0.06)
    assert await calm.ask(failing(AWAY)) == 7
    broken_off = failing(AWAY)

    async def works() -> int:
        await asyncio.sleep(0.06)
        return await broken_off()

    assert await calm.ask(works) == 7


async def test_a_call_whose_time_ran_out_heard_nothing_all_the_while() -> None:
    out_of_time = failing(DeadlineExceeded("late"))

    async def hangs() -> int:
        await asyncio.sleep(0.06)
        return await out_of_time()

    with pytest.raises(DeadlineExceeded):
        await Patience(0.05).ask(hangs)


class Engine:
    """Works at one call until it may end, and refuses all others."""

    def __init__(self) -> None:
        self.at_work, self.may_end = asyncio.Event(), asyncio.Event()
        self.refused_count = 0

    async def work(self) -> int:
        self.at_work.set()
        await self.may_end.wait()
        return 7

    async def refuse(self) -> int:
        if self.may_end.is_set():
            return 8
        self.refused_count += 1
        raise FULL


async def refused_for(engine: Engine, seconds: float) -> None:
    until_s, already = time.monotonic() + seconds, engine.refused_count
    while time.monotonic() < until_s or engine.refused_count < already + 3:
        await asyncio.sleep(0.001)


async def test_who_is_full_with_a_long_call_of_ours_is_waited_for() -> None:
    calm, engine = Patience(0.02), Engine()
    long = asyncio.create_task(calm.ask(engine.work))
    await engine.at_work.wait()
    refused = asyncio.create_task(calm.ask(engine.refuse))
    await refused_for(engine, 0.1)
    assert not refused.done()
    engine.may_end.set()
    assert (await long, await refused) == (7, 8)


async def test_calls_that_are_begun_when_patience_has_run_out_do_not_put_the_end_off() -> None:
    calm, early, late = Patience(0.02), Engine(), Engine()

    async def ends_badly() -> int:
        await early.work()
        raise Invalid("WRONG", "wrong", field="x")

    first = asyncio.create_task(calm.ask(ends_badly))
    await early.at_work.wait()
    refused = asyncio.create_task(calm.ask(late.refuse))
    await refused_for(late, 0.1)
    hangs = asyncio.create_task(calm.ask(late.work))
    await late.at_work.wait()
    assert not refused.done()
    early.may_end.set()
    with pytest.raises(Exhausted):
        await asyncio.wait_for(refused, 30.0)
    with pytest.raises(Invalid):
        await first
    hangs.cancel()
