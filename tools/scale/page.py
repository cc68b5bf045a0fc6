"""docs/scale.md, from what `simulation` saw (docs/scale.json)."""

import json
import sys
from pathlib import Path
from typing import Any

from tools.scale import load
from tools.scale.database import counted
from tools.scale.load import Installation, Outcome

DOCS = Path(__file__).parents[2] / "docs"
WORDS = {
    "studies": "places for studies",
    "augmenter": "places for augmentations",
    "evaluator": "places for evaluations",
    "trainer": "places for trainings",
    "engines": "GPUs of engines",
    "training": "GPUs of training",
}
GATEWAY_MS, DOOR_MS, CORE_BUSY = 0.85, 1.78, 0.7


def main() -> None:
    if len(sys.argv) > 1:  # what a simulation saw anew
        seen = {"transactions_of_an_operation": counted(), **json.loads(Path(sys.argv[1]).read_text())}
        (DOCS / "scale.json").write_text(json.dumps(seen, indent=1) + "\n")
    told = json.loads((DOCS / "scale.json").read_text())
    (DOCS / "scale.md").write_text(page(told["transactions_of_an_operation"], told["widened"], told["twice"]))


def page(transactions: float, widened: list[dict[str, Any]], twice: dict[str, Any]) -> str:
    outcomes = [outcome(one, transactions) for one in widened]
    head = HEAD.format(gpus=load.GPUS, studies=load.STUDIES_A_DAY)
    return "\n".join(
        [head, *demand_table(), MIDDLE, *found(outcomes), "", further(outcome(twice, transactions)), TAIL]
    )


def outcome(told: dict[str, Any], transactions: float) -> Outcome:
    fields = {
        name: value for name, value in told.items() if name not in ("bottleneck", "installation", "facts")
    }
    facts = {"transactions_of_an_operation": transactions}
    return Outcome(installation=Installation(**told["installation"]), facts=facts, **fields)


def demand_table() -> list[str]:
    rate_s = load.STUDIES_A_DAY / load.DAY_S
    needed = load.needed(rate_s)
    lines = [
        "| of what | seconds a study holds one | busy on average | for 85 % busy |",
        "| --- | ---: | ---: | ---: |",
    ]
    for part, seconds in load.demands().items():
        lines.append(f"| {WORDS[part]} | {seconds:.0f} | {rate_s * seconds:.0f} | {needed[part]:,} |")
    return lines


def found(outcomes: list[Outcome]) -> list[str]:
    lines = [
        "| places: studies, augmentations, evaluations, trainings | studies a day that ended | median study, min | busy: engines, training | transactions a second | what is short |",
        "| --- | ---: | ---: | --- | ---: | --- |",
    ]
    for one in outcomes:
        slots = one.installation.slots
        places = ", ".join(f"{slots[part]:,}" for part in ("studies", "augmenter", "evaluator", "trainer"))
        busy = ", ".join(f"{one.busy[part]:.0%}" for part in ("engines", "training"))
        short = WORDS.get(one.bottleneck, "nothing")
        lines.append(
            f"| {places} | {one.ended_a_day:,.0f} | {one.median_s / 60:.0f} | {busy} | {one.transactions_s():,.0f} | {short} |"
        )
    return lines


def further(one: Outcome) -> str:
    busy = " and ".join(f"{one.busy[part]:.0%} of the {WORDS[part]}" for part in ("engines", "training"))
    return (
        f"Twice as many studies over the last line's places: {one.ended_a_day:,.0f} a day end, {busy} are busy, and "
        f"{WORDS.get(one.bottleneck, 'nothing')} are short."
    )


HEAD = """# Past one cluster

Where {gpus:,} GPUs and {studies:,} studies a day would first run into a wall, and what moves it. **Simulated, never run**: `make scale` plays hours of studies as events
(simpy 4.1.2), against queues with as many places as an installation has. No cluster and no GPU was at hand.

## A study's demands

Typical: 100 pages, a model of 8 billion parameters, LoRA, two fits, four methods, 1,000 probes. GPU seconds are those of [sizing.md](sizing.md) (computed); a fit's start (60 s of its GPU) is
assumed; sizes vary log-normally (0.8). What {studies:,} a day then hold of each:
"""

MIDDLE = """
## What is short, and what moves it

Half an hour to fill up, one hour that counts, the same load each time; each line has four times as many of what the line above lacked. The first one is `deploy/k8s` as it is, but for its GPUs.
"Short" is what is full and waited for, while those who wait hold no place of it; queues before it grow without end, which is what a long median says.
"""

TAIL = f"""
## What it says

- **GPUs are not the first wall.** As `deploy/k8s` ships it for GPUs, there is one trainer that follows eight trainings at a time, and two pods of four studies each: most of the GPUs stay idle. The first
  walls are places for trainings and studies, then for evaluations and augmentations, over and over; each of the lines above moves one. `INGRAIN_WORKER_CONCURRENCY` is 4 in a pod: studies and evaluations mostly wait
  for others, so a pod may well have 64. `INGRAIN_TRAININGS_AT_ONCE` is 8 in a trainer, which only looks at them, so it may have more, and there may be more trainers. Neither was tried.
- **Then polling.** Whoever waits for an operation looks at its row five times a second, and every pod looks for work twice a second: the column of transactions is nearly all that.
  It grows with what is waited for, not with what is done. Telling instead of looking (PostgreSQL's LISTEN and NOTIFY, or looks that get rarer) is the change to make before a second database.
- **Connections.** Each pod holds one. Some hundred are PostgreSQL's default; with more, a pooler in session mode (`search_path` is set once per connection).
- **Single calls** do not matter beside that: a study makes some {load.CALLS} of them. For callers of the winners: a core carries {CORE_BUSY * 1000 / GATEWAY_MS:,.0f} calls a second as a gateway and
  {CORE_BUSY * 1000 / DOOR_MS:,.0f} as inference's door, at {CORE_BUSY:.0%} busy (measured: {GATEWAY_MS} and {DOOR_MS} ms of a processor a call, `benchmarks/RESULTS.md`), each being one process of one core.
- **KubeRay's operator and the API server** see a RayJob, a cluster and its pods for each of some {2 * load.STUDIES_A_DAY:,} trainings a day, and each trainer asks for each of its RayJobs every two seconds. Not in the simulation; watching
  instead of asking is the change to make there.
- **More than one cluster of Kubernetes**: a platform for each, projects divided among them, one object storage. Nothing here spans two.

Not in it: the object storage's own limits, networks, models that have to be loaded before they answer, failures, and days that are not alike.
"""

if __name__ == "__main__":
    main()
