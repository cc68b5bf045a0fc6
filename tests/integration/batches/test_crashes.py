"""Killed at any boundary a batch goes on: what was kept is not asked again, no row is lost or doubled."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ingrain.v1 import batches_pb2, common_pb2
from servicekit.database import Database
from services.inference.batches import parts
from services.inference.settings import InferenceSettings

BATCHES = Path(parts.__file__).parent
WORKER = ["worker.after_claim", "worker.before_finish", "worker.before_finish_commit", "worker.after_finish"]
OWN = [
    "batches.after_object",
    "batches.before_commit",
    "batches.before_commit:3",
    "batches.after_part",
    "batches.after_part:2",
    "batches.after_upload",
]
ROWS = 700  # three shards
Run = Callable[..., Awaitable[int]]


@pytest.fixture(scope="module")
def jobs() -> Iterator[subprocess.Popen[str]]:
    script = str(Path(__file__).with_name("batch_process.py"))
    process = subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate(timeout=30)


@pytest.fixture
def run(jobs: subprocess.Popen[str], settings: InferenceSettings, tmp_path: Path) -> Run:
    """Works in a process of its own until no batch is left; its exit code."""
    values = {
        "gateway": settings.gateway,
        "service_token": settings.service_token.get_secret_value(),
        "database_url": settings.database_url,
        "storage": settings.storage,
        "lease_s": settings.lease_s,
    }

    def work(failpoint: str) -> int:
        job = {"settings": values, "log": str(tmp_path / "asked"), "failpoint": failpoint}
        assert jobs.stdin
        assert jobs.stdout
        jobs.stdin.write(json.dumps(job) + "\n")
        jobs.stdin.flush()
        return int(jobs.stdout.readline())

    async def run(failpoint: str = "") -> int:
        return await asyncio.to_thread(work, failpoint)

    return run


@pytest.mark.parametrize("failpoint", [*WORKER, *OWN])
async def test_killed_at_any_boundary_it_goes_on(
    failpoint: str, run: Run, world: Any, settings: InferenceSettings, tmp_path: Path
) -> None:
    rows = [{"id": f"r{number}", "prompt": f"say {number}"} for number in range(ROWS)]
    operation = await world.create(rows)
    assert await run(failpoint) == -signal.SIGKILL
    kept = await kept_rows(settings)
    assert await run() == 0
    made = await world.client.operations.wait(operation.name, timeout_s=10)
    answers = await world.read(made.name)
    assert [(row["id"], row["completion"]) for row in answers] == [
        (f"r{number}", f"say {number}!") for number in range(ROWS)
    ]
    asked = Counter((tmp_path / "asked").read_text().splitlines())
    assert len(asked) == ROWS
    assert {asked[f"say {number}"] for number in kept} <= {1}
    assert max(asked.values()) <= 2
    batch = await world.stub.GetBatch(batches_pb2.GetBatchRequest(name="projects/demo/batches/b-1"))
    assert (batch.state, batch.answered_count, batch.row_count) == (common_pb2.ACTIVE, ROWS, ROWS)
    assert batch.cost.generated_token_count == 2 * ROWS  # what is kept is counted once
    assert [d.name async for d in world.datasets.datasets.list()].count(made.name) == 1


async def kept_rows(settings: InferenceSettings) -> set[int]:
    database = Database(settings.database_url, schema="inference")
    query = sa.select(parts.table.c.start_row, parts.table.c.row_count)
    found = await database.run(lambda connection: connection.execute(query).all())
    await database.close()
    return {number for row in found for number in range(row.start_row, row.start_row + row.row_count)}


def test_no_failpoint_is_forgotten() -> None:
    sources = "".join(path.read_text() for path in BATCHES.glob("*.py"))
    named = set(re.findall(r'failpoint\("([a-z_.]+)"\)', sources))
    assert named == {name.partition(":")[0] for name in OWN}
