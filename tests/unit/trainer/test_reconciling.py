"""Jobs whose training has ended, or goes on elsewhere, are stopped; all others are left alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from servicekit.tables import operation as table
from services.trainer import reconciling
from services.trainer.jobs import RayJobs
from services.trainer.reconciling import reconcile, stop_unwatched
from services.trainer.settings import TrainerSettings
from tests.unit.trainer.desk import TARGET, Desk


async def test_a_training_cancelled_while_nobody_has_it_leaves_no_job(desk: Desk) -> None:
    name = await desk.begin()
    await desk.launch(task := await desk.claim())
    await desk.database.run(lambda c: c.execute(table.update().values(state="PENDING")))
    await stop_unwatched(desk.database, desk.ray)
    assert desk.ray.states == {task.notes["job"]: "RUNNING"}
    await desk.operations.cancel(name)
    await stop_unwatched(desk.database, desk.ray)
    assert desk.ray.states == {task.notes["job"]: "STOPPED"}


async def test_what_a_trainer_submits_after_it_lost_its_fence_is_stopped(desk: Desk) -> None:
    await desk.begin()
    await desk.launch(ghost := await desk.claim())
    desk.ray.states.clear()
    await desk.launch(heir := await desk.claim())
    desk.ray.states[ghost.notes["job"]] = "RUNNING"
    await stop_unwatched(desk.database, desk.ray)
    assert desk.ray.states == {ghost.notes["job"]: "STOPPED", heir.notes["job"]: "RUNNING"}


async def test_a_job_that_the_next_trainer_has_not_attached_to_yet_goes_on(desk: Desk) -> None:
    await desk.begin()
    await desk.launch(task := await desk.claim())
    await desk.claim()
    await stop_unwatched(desk.database, desk.ray)
    assert desk.ray.states == {task.notes["job"]: "RUNNING"}


async def test_jobs_of_another_platform_are_left_alone(desk: Desk) -> None:
    await desk.begin()
    await desk.launch(await desk.claim())
    await desk.database.run(lambda c: c.execute(table.update().values(state="FAILED")))
    for id, prefix in (("0a1b-3", f"{TARGET}/0a1b-3"), ("x", "x"), ("y", "")):
        await desk.ray.submit(id, prefix)
    await stop_unwatched(desk.database, desk.ray)
    assert {id for id, state in desk.ray.states.items() if state == "RUNNING"} == {"0a1b-3", "x", "y"}


async def test_the_driver_of_a_finished_training_may_end_by_itself(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.begin()
    await desk.launch(task := await desk.claim())
    now = desk.database.now()
    await desk.database.run(lambda c: c.execute(table.update().values(state="SUCCEEDED", updated=now)))
    await stop_unwatched(desk.database, desk.ray)
    assert desk.ray.states == {task.notes["job"]: "RUNNING"}
    monkeypatch.setattr(reconciling, "ENDING_SECONDS", -1.0)
    await stop_unwatched(desk.database, desk.ray)
    assert desk.ray.states == {task.notes["job"]: "STOPPED"}


async def test_nobody_is_asked_before_a_training_and_later_again_and_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    async def away() -> dict[str, str]:
        looks.append("look")
        raise RuntimeError("Ray says 401")

    monkeypatch.setattr(desk.ray, "unended", away)
    monkeypatch.setattr(reconciling, "LOOK_SECONDS", 0.01)
    await stop_unwatched(desk.database, desk.ray)
    assert not looks
    await desk.begin()
    await desk.launch(await desk.claim())
    reconciler = asyncio.create_task(reconcile(desk.database, desk.ray))
    async with asyncio.timeout(20):
        while len(looks) < 3:
            await asyncio.sleep(0.01)
    reconciler.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reconciler


def job(id: str | None, status: str, **more: Any) -> dict[str, Any]:
    kind = "SUBMISSION" if id else "DRIVER"
    return {"type": kind, "submission_id": id, "status": status, "entrypoint": "python", **more}


@pytest.fixture
async def dashboard() -> AsyncIterator[Callable[..., str]]:
    """A Ray dashboard's list of jobs."""
    jobs: list[dict[str, Any]] = []

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2", "ray_commit": "", "session_name": "s"})

    async def listed(_: web.Request) -> web.Response:
        return web.json_response(jobs)

    application = web.Application()
    application.router.add_get("/api/version", version)
    application.router.add_get("/api/jobs/", listed)
    server = TestServer(application)
    await server.start_server()

    def holds(*of: dict[str, Any]) -> str:
        jobs.extend(of)
        return str(server.make_url("")).rstrip("/")

    yield holds
    await server.close()


async def test_a_ray_cluster_tells_the_jobs_that_have_not_ended(dashboard: Callable[..., str]) -> None:
    ours = {"metadata": {"prefix": f"{TARGET}/0a-1"}}
    address = dashboard(
        job("0a-1", "RUNNING", **ours),
        job("0a-2", "PENDING", metadata={"prefix": f"{TARGET}/0a-2"}),
        job("0a-0", "STOPPED", **ours),
        job("somebodys", "RUNNING", metadata={}),
        job("anybodys", "RUNNING"),
        job(None, "RUNNING"),
    )
    jobs = RayJobs(TrainerSettings(ray_dashboard=address, attach_wait_s=5.0))
    assert await jobs.unended() == {"0a-1": f"{TARGET}/0a-1", "0a-2": f"{TARGET}/0a-2"}
