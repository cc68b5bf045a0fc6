"""Watching a training: every step once over all attempts, with what it says of itself; a sign of life while nothing happens."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from servicekit.database import Database
from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, open_storage
from services.trainer.attempts import Attempt, Attempts
from services.trainer.exchange import progress_key
from services.trainer.history import History
from services.trainer.models import CREATING

MODEL = "projects/p/models/m"
ACTIVE = 2


def line(step: int, **more: Any) -> dict[str, Any]:
    told = {
        "learning_rate": 1e-3,
        "grad_norm": 1.0,
        "tokens": 10 * step,
        "tokens_per_second": 5.0,
        "time": 1e9,
    }
    return {"step": step, "loss": 1.0 / step, **told, **more}


class Desk:
    """A model whose state a test sets, its attempts in SQLite and its progress in a folder."""

    def __init__(self, tmp_path: Path) -> None:
        self.storage: Storage = open_storage(ServiceSettings(storage=f"file://{tmp_path}/storage"))
        self.database = Database(f"sqlite:///{tmp_path}/trainer.db", schema="trainer")
        self.attempts = Attempts(self.database)
        self.state = CREATING
        models: Any = SimpleNamespace(rows=self)
        self.history = History(self.attempts, models, self.storage, heartbeat_s=0.2)

    async def get(self, name: str) -> Any:
        return SimpleNamespace(state=self.state)

    async def begin(self, prefix: str, first_step: int) -> None:
        attempt = Attempt(prefix, first_step, 4)
        await self.database.run(lambda connection: self.attempts.add_in(connection, MODEL, attempt))

    async def put(self, prefix: str, part: int, *lines: dict[str, Any]) -> None:
        data = "".join(json.dumps(one) + "\n" for one in lines).encode()
        await self.storage.put(progress_key(prefix, part), data)


@pytest.fixture
async def desk(tmp_path: Path):
    desk = Desk(tmp_path)
    await desk.database.create_all()
    await desk.begin(f"{MODEL}/op-1", 1)
    yield desk
    await desk.database.close()


async def test_a_watcher_hears_a_heartbeat_while_nothing_happens(desk: Desk) -> None:
    await desk.put(f"{MODEL}/op-1", 1, line(1))
    heard = []
    async with asyncio.timeout(20):
        async for snapshot in desk.history.watch(MODEL, 1):
            heard.append(snapshot.step)
            if heard == [1, 0]:
                await desk.put(f"{MODEL}/op-1", 2, line(2))
            if snapshot.step == 2:
                desk.state = ACTIVE
    assert heard[:2] == [1, 0]
    assert [step for step in heard if step] == [1, 2]


async def test_a_step_says_how_it_goes(desk: Desk) -> None:
    measured = {"step": 2, "eval_loss": 1.25}
    await desk.put(f"{MODEL}/op-1", 1, {"measurement": {"step": 0, "eval_loss": 2.0}}, line(1))
    await desk.put(f"{MODEL}/op-1", 2, line(2, mfu=0.5, remaining_s=1.5, measurement=measured))
    desk.state = ACTIVE
    first, second = [snapshot async for snapshot in desk.history.watch(MODEL, 1)]
    assert not first.HasField("model_flops_utilization")
    assert not first.HasField("measurement")
    assert (second.step_count, second.model_flops_utilization) == (4, 0.5)
    assert second.remaining_duration.ToMilliseconds() == 1500
    assert (second.measurement.step, second.measurement.eval_loss) == (2, 1.25)
    assert not second.measurement.HasField("acc")


async def test_a_watcher_goes_on_from_a_step_and_sees_no_step_twice(desk: Desk) -> None:
    await desk.put(f"{MODEL}/op-1", 1, line(1), line(2), line(3))
    await desk.begin(f"{MODEL}/op-2", 3)
    await desk.put(f"{MODEL}/op-2", 1, line(3, loss=9.0), line(4))
    desk.state = ACTIVE
    assert [(s.step, s.loss) async for s in desk.history.watch(MODEL, 2)] == [(2, 0.5), (3, 9.0), (4, 0.25)]
