"""Places for calls: bounded, apart by project and by kind, and given back."""

import asyncio
import time

import pytest

from servicekit.errors import Exhausted
from servicekit.identity import Caller
from services.gateway.limits import Limits, Places

USER = Caller("user", "key", "projects/a")
OTHER = Caller("user", "key", "projects/b")
SERVICE = Caller("service", "service", "projects/a")


def limits(queue: int = 10, queue_s: float = 0.05) -> Limits:
    return Limits(Places(users=1, nested=1, waiting=1, queue=queue, queue_s=queue_s))


async def test_a_full_project_is_told_when_to_come_back() -> None:
    full = limits()
    async with full.admit(USER):
        with pytest.raises(Exhausted) as caught:
            async with full.admit(USER):
                pass
    assert caught.value.reason == "TOO_MANY_CALLS"
    assert caught.value.retry_after_s > 0
    async with full.admit(USER):
        pass


async def test_projects_do_not_take_each_others_places() -> None:
    shared = limits()
    async with shared.admit(USER), shared.admit(OTHER):
        pass


async def test_nothing_waits_for_what_it_started() -> None:
    """A user's call, the service's call for it, and who waits for both, all at once with one place each."""
    shared = limits()
    async with shared.admit(USER), shared.admit(SERVICE), shared.admit(SERVICE, waits=True):
        pass


async def test_a_queued_call_has_the_next_place() -> None:
    shared = limits(queue_s=5.0)
    order = []

    async def call(name: str, hold_s: float) -> None:
        async with shared.admit(USER):
            order.append(name)
            await asyncio.sleep(hold_s)

    await asyncio.gather(call("first", 0.02), call("second", 0.0), call("third", 0.0))
    assert order == ["first", "second", "third"]


async def test_a_queue_is_bounded_and_refuses_at_once() -> None:
    shared = limits(queue=1, queue_s=5.0)
    async with shared.admit(USER):
        queued = asyncio.ensure_future(enter(shared))
        await asyncio.sleep(0)
        started = time.monotonic()
        with pytest.raises(Exhausted):
            await enter(shared)
        assert time.monotonic() - started < 1.0
    await queued


@pytest.mark.parametrize("when", ["queued", "inside"])
async def test_a_cancelled_call_gives_its_place_back(when: str) -> None:
    shared = limits(queue_s=5.0)
    holder = asyncio.ensure_future(hold(shared))
    await asyncio.sleep(0)
    if when == "queued":
        queued = asyncio.ensure_future(hold(shared))
        await asyncio.sleep(0)
        queued.cancel()
    holder.cancel()
    await asyncio.wait([holder])
    await asyncio.wait_for(enter(shared), 1.0)


async def enter(shared: Limits) -> None:
    async with shared.admit(USER):
        pass


async def hold(shared: Limits) -> None:
    async with shared.admit(USER):
        await asyncio.sleep(30)


@pytest.mark.parametrize("turns", range(6))
async def test_who_gives_up_as_a_place_comes_free_leaves_it(turns: int) -> None:
    """At every turn of the loop between the place's becoming free and the call's taking it."""
    shared = limits(queue_s=5.0)
    first = shared.admit(USER)
    await first.__aenter__()

    async def call() -> None:
        async with shared.admit(USER):
            await asyncio.sleep(30)

    queued = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    await first.__aexit__(None, None, None)
    for _ in range(turns):
        await asyncio.sleep(0)
    queued.cancel()
    done, _ = await asyncio.wait([queued], timeout=1)
    assert queued in done, "the cancellation was lost"
    assert queued.cancelled()
    async with asyncio.timeout(1), shared.admit(USER):
        pass
