"""One operation with a link cut in its middle, beside the same operation without."""

import threading
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from ingrain import Client
from tools.hosts.layout import Platform
from tools.hosts.network import ENDED, Network, until
from tools.hosts.work import WORKS, prepared, suite

SILENT_S = 3.0  # without an answer for longer the next one is worth telling
LIMIT_S = 900.0


@dataclass(frozen=True)
class Case:
    """`hosts`: two whose link is cut, or one whose cable is pulled. The cut comes when `share` of the work is done, and lasts `seconds`."""

    id: str
    link: str
    work: str
    hosts: tuple[str, ...]
    seconds: float = 15.0
    share: float = 0.1


CASES = (
    Case(
        "gateway", "gateway - augmenter, trainer, evaluator, studies", "derivation", ("gateway", "services")
    ),
    Case("database", "evaluator - database", "evaluation", ("services", "database")),
    Case("inference", "inference - everybody", "evaluation", ("inference",)),
    Case("objects", "augmenter - object storage", "derivation", ("services", "objects")),
    Case("objects-long", "augmenter - object storage", "derivation", ("services", "objects"), seconds=60.0),
    Case("head", "trainer - Ray's head", "training", ("services", "ray-head")),
    Case("worker-all", "a Ray worker - everybody", "training", ("ray-worker-2",)),
    Case("worker-long", "a Ray worker - everybody", "training", ("ray-worker-2",), seconds=75.0, share=0.3),
    Case("worker", "a Ray worker - Ray's head", "training", ("ray-worker-2", "ray-head")),
    Case("objects-all", "object storage - everybody", "training", ("objects",)),
)


def measured(case: Case, network: Network, platform: Platform) -> dict[str, Any]:
    """What the case made and what it made without a cut, and what was seen meanwhile."""
    calm = undisturbed(platform, case.work)
    before = endings(network)
    with project(platform, f"cut-{case.id}") as client:
        cut = Cut(case, network)
        try:
            found = once(client, case.work, cut)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"[:400]}
        finally:
            cut.heal()
    ended = {name: count - before.get(name, 0) for name, count in endings(network).items()}
    until("Ray has its nodes again", lambda: platform.ray_nodes() >= 3, LIMIT_S, 1.0)
    return {
        "id": case.id,
        "link": case.link,
        "work": case.work,
        "seconds": case.seconds,
        "same": found.get("outcome") == calm["outcome"],
        "cut": found,
        "calm": calm,
        "during": cut.seen,
        "processes_ended": {name: count for name, count in ended.items() if count},
    }


@cache
def undisturbed(platform: Platform, work: str) -> dict[str, Any]:
    with project(platform, f"calm-{work}") as client:
        return once(client, work)


def project(platform: Platform, id: str) -> Client:
    """A client for a project of its own: nothing that another one made is found in it."""
    with Client(platform.target, api_key=platform.operator_token) as operator:
        operator.projects.create(id)
    client = Client(platform.target, api_key=platform.operator_token, project=id)
    prepared(client, suite())
    return client


class Cut:
    """Cuts once `share` is done, once; keeps what the caller was told meanwhile."""

    def __init__(self, case: Case, network: Network) -> None:
        self.case, self.network = case, network
        self.seen: list[str] = []
        self._begun = 0.0
        self._over = False
        self._told, self._answered = "", 0.0
        self._lock = threading.Lock()

    def look(self, done: int, total: int, told: str) -> None:
        """At what the caller is told, about every half second: `told` is the stage, or what went wrong."""
        if not self._begun and total and done >= self.case.share * total:
            self.network.cut(*self.case.hosts)
            self._begun = time.monotonic()
            threading.Timer(self.case.seconds, self.heal).start()
        if not self._begun:
            return
        now, self._answered = time.monotonic(), self._answered or time.monotonic()
        if told != self._told or now - self._answered > SILENT_S:
            self.seen.append(f"{now - self._begun:.0f} s: {told}, {done} of {total}")
        self._told, self._answered = told, now

    def heal(self) -> None:
        with self._lock:
            if self._begun and not self._over:
                self._over = True
                self.network.heal(*self.case.hosts)


def once(client: Client, work: str, cut: Cut | None = None) -> dict[str, Any]:
    begun = time.monotonic()
    operation = WORKS[work].begin(client)
    told: list[str] = []
    while not operation.done:
        if time.monotonic() - begun > LIMIT_S:
            raise TimeoutError(f"{work} not done within {LIMIT_S:g} s; last: {told[-1:]}")
        time.sleep(0.5)
        try:
            operation.refresh()
        except Exception as error:
            said, done, total = f"{type(error).__name__}: {error}"[:160], 0, 0
        else:
            now = operation.metadata
            done, total = now.completed_count, now.total_count
            said = f"attempt {now.attempt_count}, {now.stage}"
            told.append(f"{said} {done}/{total}")
        if cut:
            cut.look(done, total, said)
    made = operation.result(10.0)
    seconds = round(time.monotonic() - begun, 1)
    return {
        "seconds": seconds,
        "attempts": operation.metadata.attempt_count,
        "outcome": WORKS[work].outcome(client, made),
    }


def endings(network: Network) -> dict[str, int]:
    """How often processes have ended, by host and log."""
    counts = {}
    for host in network.hosts.values():
        for log in host.folder.glob("*.log"):
            counts[f"{host.name}/{log.stem}"] = log.read_text(errors="replace").count(ENDED)
    return counts
