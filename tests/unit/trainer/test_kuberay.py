"""Attempts as RayJobs: what an API server is asked, over a real socket, and a training on it."""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from servicekit.errors import Unavailable
from servicekit.settings import ServiceSettings
from servicekit.storage import Storage, open_storage
from servicekit.tables import operation as table
from servicekit.worker import Deferred
from services.trainer import driver, exchange, kuberay
from services.trainer.kuberay import KubeRayJobs, job_name
from services.trainer.reconciling import stop_unwatched
from tests.unit.trainer.api_server import ApiServer
from tests.unit.trainer.desk import TARGET, Desk
from tests.unit.trainer.rayjobs import ID, NAME, PREFIX, job, settings


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    await server.server.start_server()
    yield server
    await server.server.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(ServiceSettings(storage=f"file://{tmp_path}/storage"))


def connected(api: ApiServer, storage: Storage, **changes: Any) -> KubeRayJobs:
    configuration = client.Configuration(host=api.url)
    configuration.retries = False
    return KubeRayJobs(
        settings(**changes), storage, lambda: client.CustomObjectsApi(client.ApiClient(configuration))
    )


async def test_submitting_twice_makes_one(api: ApiServer, storage: Storage) -> None:
    jobs = connected(api, storage)
    await exchange.put_job(storage, job())
    assert await jobs.status(ID) == "GONE"
    await jobs.submit(ID, PREFIX)
    await jobs.submit(ID, PREFIX)
    assert api.created == 1
    assert await jobs.status(ID) == "PENDING"


async def test_an_api_server_that_fails_for_a_moment_is_asked_again(api: ApiServer, storage: Storage) -> None:
    await exchange.put_job(storage, job())
    api.failing = [500, 503, 401]
    await connected(api, storage).submit(ID, PREFIX)
    assert api.created == 1


async def test_an_api_server_that_is_away_is_unavailable_in_the_end(api: ApiServer, storage: Storage) -> None:
    jobs = connected(api, storage, attach_wait_s=0.0)
    await api.server.close()
    with pytest.raises(Unavailable) as caught:
        await jobs.status(ID)
    assert caught.value.reason == "KUBERNETES_UNREACHABLE"


async def test_a_connection_that_another_call_gives_up_is_still_this_calls(
    api: ApiServer, storage: Storage
) -> None:
    class Given(KubeRayJobs):
        """Its connection is given up as soon as it is made."""

        api = property(lambda _: None, lambda _, made: None)  # type: ignore[assignment]

    assert await Given(settings(), storage, connected(api, storage).connect).status(ID) == "GONE"


async def test_a_refusal_is_told_at_once_in_the_servers_words(api: ApiServer, storage: Storage) -> None:
    await exchange.put_job(storage, job())
    api.failing = [403]
    with pytest.raises(Unavailable, match="as the test wants it") as caught:
        await connected(api, storage).submit(ID, PREFIX)
    assert caught.value.reason == "RAY_JOB_REFUSED"


async def test_stopping_ends_when_its_pods_are_gone(api: ApiServer, storage: Storage) -> None:
    jobs = connected(api, storage)
    await exchange.put_job(storage, job())
    await jobs.submit(ID, PREFIX)
    api.holds = True
    stopping = asyncio.create_task(jobs.stop(ID))
    await api.until(lambda: api.deletions)
    looks = api.looks
    await api.until(lambda: api.looks > looks + 1)  # the answer to the first has then been read
    assert not stopping.done()
    api.jobs.clear()
    await asyncio.wait_for(stopping, 20)
    assert api.deletions == [(NAME, "Foreground")]
    await jobs.stop(ID)  # there is none


async def test_a_node_that_is_away_does_not_hold_the_next_attempt(
    api: ApiServer, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kuberay, "STOP_SECONDS", 0.0)
    jobs = connected(api, storage)
    await exchange.put_job(storage, job())
    await jobs.submit(ID, PREFIX)
    api.holds = True
    await asyncio.wait_for(jobs.stop(ID), 20)


async def test_what_ended_long_ago_is_taken_away_and_nothing_else(api: ApiServer, storage: Storage) -> None:
    jobs = connected(api, storage)
    await exchange.put_job(storage, job())
    for id, age in (("old-1", timedelta(hours=2)), ("new-1", timedelta(minutes=5)), ("at-work-1", None)):
        await jobs.submit(id, PREFIX)
        if age:
            ended = (datetime.now(UTC) - age).isoformat(timespec="seconds").replace("+00:00", "Z")
            api.jobs[job_name(id)]["status"] = {"jobDeploymentStatus": "Complete", "endTime": ended}
    await jobs.submit(ID, PREFIX)
    assert set(api.jobs) == {job_name(id) for id in ("new-1", "at-work-1", ID)}


async def test_kuberays_own_words_are_the_log_of_a_driver_that_wrote_none(
    api: ApiServer, storage: Storage
) -> None:
    jobs = connected(api, storage)
    await exchange.put_job(storage, job())
    await jobs.submit(ID, PREFIX)
    api.jobs[NAME]["status"] = {"reason": "ValidationFailed", "message": "no such field"}
    assert await jobs.log_tail(ID) == "ValidationFailed: no such field"
    assert await jobs.log_tail("none") == ""


# A training on it.


@pytest.fixture
async def on_kubernetes(desk: Desk, api: ApiServer) -> Desk:
    desk.running.jobs = connected(api, desk.storage)
    return desk


async def handled(desk: Desk, until: Any = None) -> Any:
    """The handler of the next attempt, until something is so; its task, and its end where it came to one."""
    task = await desk.claim()
    handler = asyncio.create_task(desk.create(task))
    async with asyncio.timeout(30):
        while not handler.done() and not (until and until()):
            await asyncio.sleep(0.02)
    if not handler.done():
        handler.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return task, (await asyncio.gather(handler, return_exceptions=True))[0]
    return task, None


async def test_a_crash_between_note_and_submission_leaves_one_job(
    on_kubernetes: Desk, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = on_kubernetes
    await desk.begin()
    api.failing = [403]
    await handled(desk)
    assert api.jobs == {}
    task, _ = await handled(desk, until=lambda: api.jobs)
    assert list(api.jobs) == [job_name(task.notes["job"])]
    assert api.created == 1


async def test_who_takes_over_attaches_to_the_job_that_is_there(on_kubernetes: Desk, api: ApiServer) -> None:
    desk = on_kubernetes
    await desk.begin()
    first, _ = await handled(desk, until=lambda: api.jobs)
    (made,) = api.jobs.values()
    made["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    task = await desk.claim()
    assert await desk.running.attached(task) == first.notes["prefix"]
    assert api.created == 1


async def test_a_job_in_the_queue_says_so_and_is_not_held_by_a_pause(
    on_kubernetes: Desk, api: ApiServer
) -> None:
    desk = on_kubernetes
    operation = await desk.begin()
    desk.running.jobs.settings = settings(ray_job_queue="training")
    task = await desk.claim()
    handler = asyncio.create_task(desk.create(task))
    async with asyncio.timeout(30):
        while b"waits in the queue" not in (await desk.row(operation)).metadata:
            await asyncio.sleep(0.1)
    await desk.rows.update(TARGET, lambda model: setattr(model, "paused", True))
    with contextlib.suppress(Exception):
        await asyncio.wait_for(handler, 30)
    assert api.jobs == {}
    assert task.notes["paused"]


@pytest.mark.parametrize("left", ["a checkpoint", "its beginning", "an error of a dead worker"])
async def test_a_job_whose_cluster_the_queue_took_back_begins_no_second_time(
    on_kubernetes: Desk, api: ApiServer, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """Nor does that count as a failure of the training."""
    desk = on_kubernetes
    await desk.begin()
    first, _ = await handled(desk, until=lambda: api.jobs)
    (made,) = api.jobs.values()
    prefix = first.notes["prefix"]
    if left == "a checkpoint":
        await desk.left_by_job(prefix, desk.step(1), await desk.checkpoint(prefix, 1))
    else:
        await exchange.put_json(desk.storage, exchange.begun_key(prefix), {})
    made["spec"]["suspend"] = True
    made["status"] = {"jobDeploymentStatus": "Suspended"}
    if left == "an error of a dead worker":
        told = {"reason": "TRAINING_FAILED", "message": "a worker died", "permanent": False}
        await exchange.put_json(desk.storage, exchange.error_key(prefix), told)
        status, states = desk.running.jobs.status, ["RUNNING"]

        async def seen_late(id: str) -> str:
            return states.pop() if states else await status(id)

        monkeypatch.setattr(desk.running.jobs, "status", seen_late)
        with pytest.raises(Deferred):
            await desk.running.watched(await desk.claim(), prefix, 9)
        assert not states
    else:
        _, end = await handled(desk)
        assert isinstance(end, Deferred)
    assert api.jobs == {}
    again, _ = await handled(desk, until=lambda: api.jobs)
    assert list(api.jobs) == [job_name(again.notes["job"])]
    checkpoint = (await exchange.get_job(desk.storage, again.notes["prefix"])).checkpoint
    assert (checkpoint["step"] if checkpoint else 0) == (left == "a checkpoint")


async def test_a_training_cancelled_in_the_queue_is_never_let_go(on_kubernetes: Desk, api: ApiServer) -> None:
    desk = on_kubernetes
    operation = await desk.begin()
    desk.running.jobs.settings = settings(ray_job_queue="training")
    task, _ = await handled(desk, until=lambda: api.jobs)
    made = job_name(task.notes["job"])
    for id in ("other-1", "ended-1"):
        api.jobs[id] = copy.deepcopy(api.jobs[made])
        api.jobs[id]["spec"]["jobId"] = id
    api.jobs["other-1"]["metadata"]["annotations"]["ingrain/attempt"] = f"{TARGET}/other-1"
    api.jobs["ended-1"]["status"] = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    assert set(await desk.running.jobs.unended()) == {task.notes["job"], "other-1"}
    await desk.database.run(lambda c: c.execute(table.update().values(state="PENDING")))
    await desk.operations.cancel(operation)
    await stop_unwatched(desk.database, desk.running.jobs)
    assert set(api.jobs) == {"other-1", "ended-1"}


async def test_a_job_that_somebody_deleted_is_made_anew(on_kubernetes: Desk, api: ApiServer) -> None:
    desk = on_kubernetes
    await desk.begin()
    await handled(desk, until=lambda: api.jobs)
    api.jobs.clear()
    await handled(desk, until=lambda: api.jobs)
    assert api.created == 2


async def test_an_attempt_never_runs_twice(storage: Storage) -> None:
    """KubeRay submits a job again to a cluster that has lost it."""
    await driver.begin(storage, PREFIX)
    with pytest.raises(driver.Twice) as caught:
        await driver.begin(storage, PREFIX)
    await driver.tell(storage, job(), caught.value, of_memory=False)
    told = await exchange.get_json(storage, exchange.error_key(PREFIX))
    assert (told["reason"], told["permanent"]) == ("TRAINING_INTERRUPTED", False)
