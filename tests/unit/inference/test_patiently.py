"""Waiting for Ray: bounded, and ended by a cancellation whenever it comes. No Ray in it."""

import asyncio
import threading

import pytest

from services.inference.rayserve import patiently


async def test_result_and_error_come_through() -> None:
    assert await patiently(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await patiently(lambda: 1 // 0)


async def test_what_never_answers_is_left() -> None:
    answer = threading.Event()
    with pytest.raises(TimeoutError):
        await patiently(answer.wait, 0.05)
    answer.set()


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_beside_the_answer_is_not_lost(turns: int) -> None:
    """At every turn of the loop around the answer's arrival."""
    asked, told = threading.Event(), threading.Event()

    def work() -> None:
        asked.set()
        told.wait(5)

    async def wait_and_go_on() -> None:
        await patiently(work)
        await asyncio.sleep(30)

    waiting = asyncio.create_task(wait_and_go_on())
    await asyncio.to_thread(asked.wait, 5)
    told.set()
    for thread in [t for t in threading.enumerate() if t.name.endswith("(run)")]:
        thread.join(5)  # the answer lies in the loop's queue now
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    done, _ = await asyncio.wait([waiting], timeout=1)
    assert waiting in done, "the cancellation was lost"
    assert waiting.cancelled()
