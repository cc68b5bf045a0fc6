"""Calls that are made again: what passes is waited for, what does not is raised at once."""

from collections.abc import Callable

import pytest

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
