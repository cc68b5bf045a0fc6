"""Hours of studies as events. Runs in an environment of its own, which has simpy (`make scale`)."""

import json
import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from tools.scale import load
from tools.scale.load import Installation, Outcome

WARM_UP_S = 1_800.0
MEASURED_S = 3_600.0


class Station:
    """A number of equal places, the time that they were held, and the time that was waited for them."""

    def __init__(self, env: Any, count: int) -> None:
        import simpy

        self.env, self.count = env, count
        self.resource = simpy.Resource(env, capacity=count)
        self.held_s = self.waited_s = 0.0

    def used(self, work: Any) -> Iterator[Any]:
        """Holds a place while `work`, a generator, goes on."""
        asked = self.env.now
        with self.resource.request() as request:
            yield request
            begun = self.env.now
            self.waited_s += overlap(asked, begun)
            yield from work
            self.held_s += overlap(begun, self.env.now)

    def totals(self) -> tuple[float, float]:
        return self.held_s / MEASURED_S / self.count, self.waited_s / MEASURED_S


def overlap(begin: float, end: float) -> float:
    """What of the time lies in the measured hours."""
    return max(0.0, min(end, WARM_UP_S + MEASURED_S) - max(begin, WARM_UP_S))


class Level:
    """How many there are at once, on average over the measured hours; those that are still there at the end count too."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.count, self.since, self.sum_s = 0, 0.0, 0.0

    def change(self, by: int) -> None:
        self.sum_s += self.count * overlap(self.since, self.env.now)
        self.count += by
        self.since = self.env.now

    def during(self, work: Iterator[Any]) -> Iterator[Any]:
        self.change(1)
        yield from work
        self.change(-1)

    @property
    def mean(self) -> float:
        self.change(0)
        return self.sum_s / MEASURED_S


class World:
    def __init__(self, installation: Installation, rate_s: float, seed: int) -> None:
        import simpy

        self.env = simpy.Environment()
        self.random = random.Random(seed)
        self.rate_s = rate_s
        self.stations = {name: Station(self.env, count) for name, count in installation.slots.items()}
        self.open, self.fits = Level(self.env), Level(self.env)
        self.lasted: list[float] = []
        self.env.process(self.arrivals())

    def arrivals(self) -> Iterator[Any]:
        while True:
            yield self.env.timeout(self.random.expovariate(self.rate_s))
            self.env.process(self.study(self.env.now))

    def study(self, asked: float) -> Iterator[Any]:
        size = self.random.lognormvariate(-(load.SPREAD**2) / 2, load.SPREAD)
        yield from self.open.during(self.stations["studies"].used(self.steps(size)))
        if self.env.now > WARM_UP_S:
            self.lasted.append(self.env.now - asked)

    def steps(self, size: float) -> Iterator[Any]:
        """As the studies' plan: what needs nothing of another begins at once."""
        begin = self.env.process
        early = [
            begin(self.operation("evaluator", load.ASKING_S * size)),
            begin(self.operation("evaluator", load.ASKING_CONTEXT_S * size)),
            begin(self.trained(load.TRAINING_PLAIN_S * size, size)),
        ]
        yield begin(self.operation("augmenter", load.AUGMENTATION_S * size))
        yield begin(self.trained(load.TRAINING_DERIVED_S * size, size))
        yield self.env.all_of(early)

    def trained(self, seconds: float, size: float) -> Iterator[Any]:
        yield from self.open.during(self.stations["trainer"].used(self.fit(load.FIT_START_S + seconds)))
        yield from self.operation("evaluator", load.ASKING_S * size)

    def fit(self, seconds: float) -> Iterator[Any]:
        yield from self.fits.during(self.stations["training"].used(self.working(seconds)))

    def operation(self, service: str, seconds: float) -> Iterator[Any]:
        """Of a service that asks an engine for so many seconds of a GPU."""
        yield from self.open.during(
            self.stations[service].used(self.stations["engines"].used(self.working(seconds)))
        )

    def working(self, seconds: float) -> Iterator[Any]:
        yield self.env.timeout(seconds)


def simulated(installation: Installation, studies_a_day: float, seed: int = 1) -> Outcome:
    """Half an hour to fill up, an hour that counts. Where something is too small its queue only grows, and that is what is seen."""
    world = World(installation, studies_a_day / load.DAY_S, seed)
    world.env.run(WARM_UP_S + MEASURED_S)
    totals = {}
    for name, station in world.stations.items():
        held, waited = station.totals()
        # Those that still hold or wait when the clock stops are not in the sums.
        still = len(station.resource.users) / station.count
        totals[name] = (max(held, still), max(waited, float(len(station.resource.queue))))
    lasted = sorted(world.lasted) or [0.0]
    return Outcome(
        installation=installation,
        ended_a_day=len(world.lasted) / MEASURED_S * load.DAY_S,
        busy={name: busy for name, (busy, _) in totals.items()},
        waiting={name: waiting for name, (_, waiting) in totals.items()},
        open_operations=world.open.mean,
        fits=world.fits.mean,
        median_s=statistics.median(lasted),
        p95_s=lasted[int(0.95 * (len(lasted) - 1))],
    )


def widened(first: Installation, studies_a_day: float, most: int = 20) -> list[Outcome]:
    """The same load again and again, each time with four times as many of what was short, until nothing is short."""
    outcomes = [simulated(first, studies_a_day)]
    while (part := outcomes[-1].bottleneck) and len(outcomes) < most:
        if part in ("engines", "training"):
            break  # GPUs are what there is
        outcomes.append(simulated(outcomes[-1].installation.with_more(part), studies_a_day))
    return outcomes


def main() -> None:
    shipped = Installation("as deploy/k8s ships it, on 1,000 GPUs")
    outcomes = widened(shipped, load.STUDIES_A_DAY)
    last = replace(outcomes[-1].installation, name="widened")
    more = simulated(last, 2 * load.STUDIES_A_DAY)
    json.dump({"widened": list(map(plain, outcomes)), "twice": plain(more)}, sys.stdout, indent=1)


def plain(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome) | {"bottleneck": outcome.bottleneck}


if __name__ == "__main__":
    main()
