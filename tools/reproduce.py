"""`make reproduce`: the demo's study on three seeds, pooled; writes docs/reproduction.md, .json and docs/demo.svg.

Controls: augmentation by a shuffled generator, prompt wordings that the bundled model never saw, relation kinds that
it never saw; the latter two on the first seed only. What the demo or an earlier run made is found and not made again.
"""

import argparse
import asyncio
import json
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import evaluator_pb2, studies_pb2
from tools import platform as local
from tools.reproduction_report import Answers, findings, markdown, pooled, write
from tools.worlds_study import METHODS, Sizes, bundled_model, study_request, suite, upload_worlds

OUT = Path("out/demo/folder")  # what the demo made there is found
SHORT = ("icl", "finetune", "augmented_finetune")

# variant -> (changes of the worlds, methods, prompt set)
VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "default": ({}, METHODS, ""),
    "held-out wordings": ({}, SHORT, "heldout"),
    "held-out relations": ({"heldout_relations": True}, SHORT, ""),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--into", type=Path, default=Path("docs"))
    options = parser.parse_args()
    started = time.monotonic()
    with local.platform(OUT.absolute() / "platform") as address:
        variants = asyncio.run(run_all(address, options.seeds))
    tables = {variant: pooled(answers) for variant, answers in variants.items()}
    result = {
        "seeds": options.seeds,
        "facts": Sizes().facts,
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "findings": findings(tables["default"]),
        "variants": tables,
    }
    write(result, chances(options.seeds[0]), options.into)
    print(markdown(result))


async def run_all(address: str, seeds: list[int]) -> dict[str, dict[str, dict[str, Answers]]]:
    """variant -> method -> kind -> answers."""
    variants: dict[str, dict[str, dict[str, Answers]]] = {}
    async with AsyncClient(address) as client:
        model = await bundled_model(client)
        for variant, (changes, methods, prompt_set) in VARIANTS.items():
            collected: dict[str, dict[str, Answers]] = defaultdict(lambda: defaultdict(dict))
            for seed in seeds if variant == "default" else seeds[:1]:
                started = time.monotonic()
                documents, probes = await upload_worlds(client, suite(seed, **changes))
                request = study_request(
                    client, documents, probes, model, seed, methods=methods, prompt_set=prompt_set
                )
                study = await client.operations.wait(await client.stubs.studies.CreateStudy(request))
                await collect(client, study, seed, collected)
                took = time.monotonic() - started
                print(f"{variant}, seed {seed}: {study.recommendation.method}, {took:.0f} s", flush=True)
            variants[variant] = collected
    return variants


async def collect(
    client: AsyncClient, study: studies_pb2.Study, seed: int, into: dict[str, dict[str, Answers]]
) -> None:
    for outcome in study.outcomes:
        request = evaluator_pb2.ReadResultsRequest(name=outcome.evaluation)
        async for message in client.stubs.evaluator.ReadResults(request):
            for line in message.rows:
                row = json.loads(line)
                into[outcome.method][row["kind"]][(seed, row["cluster"], row["id"])] = row["value"]


def chances(seed: int) -> dict[str, float]:
    """What guessing gets, by kind: right choices over choices."""
    shares: dict[str, list[float]] = defaultdict(list)
    for probe in suite(seed).probes:
        if probe.get("choices"):
            right = probe["answer"] if isinstance(probe["answer"], list) else [probe["answer"]]
            shares[probe["kind"]].append(len(right) / len(probe["choices"]))
    return {kind: sum(values) / len(values) for kind, values in shares.items()}


if __name__ == "__main__":
    main()
