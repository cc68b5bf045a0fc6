"""A failpoint at every boundary: killed there, the operation goes on; nothing is lost and nothing is done twice."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingrain.v1 import common_pb2
from ingrain.v1 import trainer_pb2 as pb
from servicekit.database import Database
from servicekit.operations import Operations
from servicekit.resources import Resources

SERVICEKIT = Path(__file__).parents[2] / "servicekit"
# Name and pass -> the process that is killed at it, and how often the step before it may be done again.
CREATING = ["operations.between_inserts", "operations.before_commit", "operations.after_create"]
WORKING = [
    "worker.before_claim_commit",
    "worker.after_claim",
    "worker.after_progress",
    "worker.after_progress:2",
    "worker.after_note",
    "worker.after_note:2",
    "worker.after_note:3",
    "worker.before_finish",
    "worker.before_finish_commit",
    "worker.after_finish",
]
FAILING = ["worker.after_failure"]  # after a transient error
# Between an effect and the note of it: the step is done again, with the same outcome.
AGAIN = {"worker.after_progress": "step-0", "worker.after_progress:2": "step-1"}
Run = Callable[..., int]


@pytest.fixture(scope="module")
def jobs() -> Iterator[subprocess.Popen[str]]:
    script = str(Path(__file__).with_name("operation_process.py"))
    process = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.communicate(timeout=30)


@pytest.fixture
def run(jobs: subprocess.Popen[str], database_url: str, schema: str, tmp_path: Path) -> Run:
    """Runs a process of the service to its end; its exit code."""

    def run(what: str, failpoint: str = "", flaky: bool = False) -> int:
        job = {"url": database_url, "schema": schema, "effects": str(tmp_path), "what": what}
        assert jobs.stdin
        assert jobs.stdout
        jobs.stdin.write(json.dumps(job | {"failpoint": failpoint, "flaky": flaky}) + "\n")
        jobs.stdin.flush()
        return int(jobs.stdout.readline())

    return run


@pytest.mark.parametrize("failpoint", [*CREATING, *WORKING, *FAILING])
def test_killed_at_any_boundary_it_goes_on(
    failpoint: str, run: Run, database_url: str, schema: str, tmp_path: Path
) -> None:
    flaky = failpoint in FAILING
    killed = "create" if failpoint in CREATING else "work"
    if killed == "work":
        assert run("create") == 0
    assert run(killed, failpoint, flaky) == -signal.SIGKILL
    if killed == "create":
        assert run("create") == 0  # the client asks again with the same request id
    assert run("work", flaky=flaky) == 0
    assert_done_once(tmp_path, AGAIN.get(failpoint, ""))
    asyncio.run(assert_one_active_model(database_url, schema))


def test_killed_again_and_again_it_goes_on(run: Run, database_url: str, schema: str, tmp_path: Path) -> None:
    """Each attempt dies one boundary later than the one before."""
    assert run("create") == 0
    for failpoint in ("worker.after_claim", "worker.after_note", "worker.after_note", "worker.before_finish"):
        assert run("work", failpoint) == -signal.SIGKILL
    begun = time.monotonic()
    assert run("work") == 0
    assert time.monotonic() - begun < 20
    assert_done_once(tmp_path)
    asyncio.run(assert_one_active_model(database_url, schema))


def test_no_failpoint_is_forgotten() -> None:
    sources = "".join(path.read_text() for path in SERVICEKIT.glob("*.py"))
    named = set(re.findall(r'failpoint\("([a-z_.]+)"\)', sources))
    storage = {name for name in named if name.startswith("storage.")}  # killed in test_storage.py
    assert named - storage == {name.partition(":")[0] for name in (*CREATING, *WORKING, *FAILING)}
    assert storage == {"storage.before_rename", "storage.after_rename"}


def assert_done_once(effects: Path, again: str = "") -> None:
    done = {path.name: len(path.read_text().split()) for path in effects.glob("step-*")}
    assert done == {name: 1 + (name == again) for name in ("step-0", "step-1", "step-2")}


async def assert_one_active_model(url: str, schema: str) -> None:
    database = Database(url, schema)
    resources = Resources(database, pb.Model, "models")
    models, _ = await resources.list("projects/p")
    operations, _ = await Operations(database, {"models": resources}).list("projects/p/models")
    assert [(model.state, model.architecture) for model in models] == [(common_pb2.ACTIVE, "Done")]
    (operation,) = operations
    assert operation.done
    assert not operation.HasField("error")
    metadata = common_pb2.OperationMetadata()
    assert operation.metadata.Unpack(metadata)
    assert (metadata.stage, metadata.completed_count) == ("step 2", 3)
    await database.close()
