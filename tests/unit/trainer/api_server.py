"""A Kubernetes API server as far as RayJobs go, over a real socket: names are taken once, what is deleted goes when its pods have gone."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

PATH = "/apis/ray.io/v1/namespaces/ingrain/rayjobs"


class ApiServer:
    """What it answers is in the words of Kubernetes' API; `jobs` are its objects by name, which a test changes as KubeRay would."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.failing: list[int] = []  # statuses of the next answers
        self.deletions: list[tuple[str, str]] = []  # names, and how what they own is deleted
        self.created = 0
        self.looks = 0  # at single jobs
        self.holds = False  # whether pods of deleted objects stay
        application = web.Application()
        application.router.add_post(PATH, self.create)
        application.router.add_get(PATH, self.list)
        application.router.add_get(PATH + "/{name}", self.get)
        application.router.add_delete(PATH + "/{name}", self.delete)
        self.server = TestServer(application)

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    async def create(self, request: web.Request) -> web.Response:
        if refusal := self.refusal():
            return refusal
        body = await request.json()
        name = body["metadata"]["name"]
        if name in self.jobs:
            return error(409, f'rayjobs.ray.io "{name}" already exists')
        self.jobs[name] = body
        self.created += 1
        return web.json_response(body, status=201)

    async def list(self, request: web.Request) -> web.Response:
        key, _, value = request.query["labelSelector"].partition("=")
        items = [job for job in self.jobs.values() if job["metadata"]["labels"].get(key) == value]
        return self.refusal() or web.json_response({"kind": "RayJobList", "items": items})

    async def get(self, request: web.Request) -> web.Response:
        self.looks += 1
        name = request.match_info["name"]
        if refusal := self.refusal():
            return refusal
        if name not in self.jobs:
            return error(404, f'rayjobs.ray.io "{name}" not found')
        return web.json_response(self.jobs[name])

    async def delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if refusal := self.refusal():
            return refusal
        if name not in self.jobs:
            return error(404, f'rayjobs.ray.io "{name}" not found')
        self.deletions.append((name, request.query.get("propagationPolicy", "")))
        self.jobs[name]["metadata"]["deletionTimestamp"] = "2026-11-28T12:00:00Z"
        if not self.holds:
            del self.jobs[name]
        return web.json_response({"kind": "Status", "status": "Success"})

    def refusal(self) -> web.Response | None:
        return error(self.failing.pop(0), "as the test wants it") if self.failing else None

    async def until(self, what: Any) -> None:
        async with asyncio.timeout(20):
            while not what():
                await asyncio.sleep(0.01)


def error(status: int, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": status, "message": message}
    return web.json_response(body, status=status)
