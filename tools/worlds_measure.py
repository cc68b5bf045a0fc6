"""`make measure-worlds`: the paper's other worlds in little, as the bundled model reads them; writes docs/worlds.json and .md.

Each world is many little ones of its kind, every one with a context of its own, in one study of four methods on a platform
of its own. What an earlier run made is found and not made again; worlds that are not asked for keep their numbers.
"""

import argparse
import asyncio
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain import AsyncClient, worlds
from ingrain.worlds.names import NameSource
from ingrain.worlds.world import world_random
from tools import platform as local
from tools.reproduce import collect
from tools.reproduction_report import Answers, pooled
from tools.worlds_report import table, write
from tools.worlds_study import Doses, bundled_model, study_request, upload_worlds

OUT = Path("out/worlds")
METHODS = ("base", "icl", "finetune", "augmented_finetune")


@dataclass(frozen=True)
class Scale:
    """A kind of world in little: its generator and what it is called with."""

    generator: Callable[..., worlds.World]
    arguments: dict[str, Any]
    said: str  # how large one is, for people


SCALES = {
    "semantic": Scale(
        worlds.semantic,
        {"size": "small", "levels": (2, 6), "heldout": 2, "documents": 24, "probes": 12},
        "8 categories on 2 levels, 2 of them held out; 12 facts, each in two documents of one sentence",
    ),
    "reversal_curse": Scale(
        worlds.reversal_curse,
        {"size": "small"},
        "9 people, 3 of each group; 12 ways of telling of them in all, each in three documents of one sentence",
    ),
    "family": Scale(
        worlds.family,
        {"size": "small"},
        "2 families of 3 generations; 8 links, each in two documents of one sentence",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", choices=SCALES, default=list(SCALES))
    parser.add_argument("--copies", type=int, default=16, help="little worlds of a kind and seed")
    parser.add_argument("--steps", type=int, default=Doses.max_steps, help="of every training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--into", type=Path, default=Path("docs"))
    options = parser.parse_args()
    doses = Doses(max_steps=options.steps)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    with local.platform(OUT.absolute() / "platform") as address:
        for name in options.worlds:
            started = time.monotonic()
            answers = asyncio.run(measured(address, name, options.seeds, options.copies, doses))
            result = {
                "scale": SCALES[name].said,
                "copies": options.copies,
                "seeds": options.seeds,
                "steps": options.steps,
                "commit": commit,
                "minutes": round((time.monotonic() - started) / 60, 1),
                "chance": chances([little(name, seed, options.copies) for seed in options.seeds]),
                "methods": pooled(answers)["methods"],
            }
            write(name, result, options.into)
            print(table(name, result), flush=True)


def little(name: str, seed: int, copies: int) -> worlds.World:
    """Many little worlds as one; no word occurs in two of them."""
    scale = SCALES[name]
    names = NameSource(world_random(f"measure/{name}", seed), longest=5)
    title = name.replace("_", "-")
    whole = worlds.World(f"measure-{title}-{seed}")
    for number in range(copies):
        world = scale.generator(
            seed * 1000 + number, name=f"m{seed}-{title}-{number}", names=names, **scale.arguments
        )
        whole.documents.extend(world.documents)
        whole.probes.extend(world.probes)
    return whole


async def measured(
    address: str, name: str, seeds: list[int], copies: int, doses: Doses
) -> dict[str, dict[str, Answers]]:
    """method -> kind -> answers of a study for each seed."""
    collected: dict[str, dict[str, Answers]] = defaultdict(lambda: defaultdict(dict))
    async with AsyncClient(address) as client:
        model = await bundled_model(client)
        for seed in seeds:
            documents, probes = await upload_worlds(client, little(name, seed, copies))
            request = study_request(client, documents, probes, model, seed, doses=doses, methods=METHODS)
            study = await client.operations.wait(await client.stubs.studies.CreateStudy(request))
            await collect(client, study, seed, collected)
    return collected


def chances(made: list[worlds.World]) -> dict[str, float]:
    """What guessing gets, by kind: the mean of right choices over choices."""
    shares: dict[str, list[float]] = defaultdict(list)
    for world in made:
        for probe in world.probes:
            shares[probe["kind"]].append(1 / len(probe["choices"]))
    return {kind: sum(values) / len(values) for kind, values in shares.items()}


if __name__ == "__main__":
    main()
