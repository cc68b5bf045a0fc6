"""`make measure-gates`: what gates drop rightly and wrongly, told by the truth of invented worlds; writes docs/gates.json.

The bundled model derives rows of little worlds whose every consequence is known, once without gates that could be wrong and once
with each of them; outputs are written once. Rows of which the worlds tell nothing are counted apart. The table of docs/gates.md
is rewritten from what was measured.
"""

import argparse
import asyncio
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ingrain import AsyncClient
from tools import platform as local
from tools.gates_report import Judged, judged, near_claims, write
from tools.probe_truth import Truth
from tools.worlds_study import Sizes, bundled_model, suite, upload_worlds

OUT = Path("out/gates")
ALL_OFF = {"keep_copies": True, "keep_duplicates": True}
NEAR = (0.9, 0.7, 0.5, 0.3)
# What is measured: changes of the spec, by name.
GATES: dict[str, dict[str, Any]] = {
    "likelier_than_contradiction": {"gates": {"likelier_than_contradiction": True}},
    "on_topic": {"gates": {"on_topic": True}},
    "min_agreement 2": {"min_agreement": 2},
    "min_agreement 3": {"min_agreement": 3},
    **{f"near_duplicate {at}": {"gates": {"near_duplicate_threshold": at}} for at in NEAR},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=6, help="of comparisons, and as many of syllogisms")
    parser.add_argument("--samples", type=int, default=2, help="of each prompt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--into", type=Path, default=Path("docs"))
    options = parser.parse_args()
    started = time.monotonic()
    sizes = replace(Sizes(), reversal_worlds=options.worlds, syllogism_worlds=options.worlds, catalogues=0)
    with local.platform(OUT.absolute() / "platform") as address:
        measured = asyncio.run(measure_at(address, sizes, options.samples, options.seed))
    result = {
        "seed": options.seed,
        "sizes": asdict(sizes),
        "samples": options.samples,
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
        "minutes": round((time.monotonic() - started) / 60, 1),
        **measured,
    }
    print(write(result, options.into))


async def measure_at(address: str, sizes: Sizes, samples: int, seed: int) -> dict[str, Any]:
    world = suite(seed, sizes)
    async with AsyncClient(address) as client:
        model = await bundled_model(client)
        documents, _ = await upload_worlds(client, world)
        return await measure(client, documents.name, model, truths_of(world.documents), samples, seed)


async def measure(
    client: AsyncClient, documents: str, model: str, truths: Mapping[str, Truth], samples: int, seed: int
) -> dict[str, Any]:
    """`truths`: of each world of the documents."""

    async def derived(name: str, **spec: Any) -> tuple[Any, list[dict[str, Any]]]:
        identity = "".join(c if c.isalnum() else "-" for c in name)
        operation = await client.datasets.augment(
            documents,
            model,
            id=f"gates-{identity}-{int(time.time())}",
            group_key="world",
            distinct_key="fact",
            samples_per_document=samples,
            temperature=0.7,
            max_tokens=64,
            seed=seed,
            **spec,
        )
        made = await operation.result(timeout_s=1800)
        return made.provenance, [row async for row in client.datasets.rows(made.name)]

    paper, written = await derived("paper", gates=ALL_OFF)
    usual, rows = await derived("usual")
    found: dict[str, Judged] = {}
    for name, changes in GATES.items():
        provenance, kept = await derived(name, **changes)
        found[name] = judged(rows, kept, truths, provenance.cost.compute_seconds - usual.cost.compute_seconds)
        print(name, found[name], flush=True)
    return {
        "written": {
            "rows": len(written),
            "dropped": dict(paper.dropped_counts),
            "true": told(written, truths),
        },
        "usual": {"rows": len(rows), "dropped": dict(usual.dropped_counts), "true": told(rows, truths)},
        "by_strategy": {
            name: told([row for row in rows if row["metadata"]["strategy"] == name], truths)
            for name in usual.strategies
        },
        "near": near_claims(rows, NEAR),
        "gates": {name: asdict(one) for name, one in found.items()},
    }


def truths_of(documents: Sequence[Mapping[str, Any]]) -> dict[str, Truth]:
    texts: dict[str, list[str]] = {}
    for document in documents:
        texts.setdefault(document["metadata"]["world"], []).append(document["text"])
    return {world: Truth(found) for world, found in texts.items()}


def told(rows: Sequence[Mapping[str, Any]], truths: Mapping[str, Truth]) -> dict[str, int]:
    """Rows that follow, that do not, and of which the worlds tell nothing."""
    said = [truths[row["metadata"]["world"]].of(row["text"]) for row in rows]
    return {"true": said.count(True), "false": said.count(False), "untold": said.count(None)}


if __name__ == "__main__":
    main()
