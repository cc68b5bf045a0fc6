"""`make reproduce`: the demo's study on three seeds, pooled; writes docs/reproduction.md and .json.

Intervals are percentile bootstraps over worlds (seed and world together are the cluster), 10,000 resamples, paired
by probe where two methods are compared. Controls: augmentation by a shuffled generator, prompt wordings that the
bundled model never saw, relation kinds that it never saw.
"""

import argparse
import asyncio
import json
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ingrain import AsyncClient, worlds
from ingrain.v1 import evaluator_pb2, studies_pb2
from tools import platform as local
from tools.worlds_study import METHODS, Sizes, bundled_model, study_request, upload_worlds

OUT = Path("out/reproduce")
RESAMPLES = 10_000
Answers = dict[tuple[int, str, str], float]  # (seed, world, probe id) -> value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    started = time.monotonic()
    with local.platform(OUT.absolute() / "platform") as address:
        variants = asyncio.run(run_all(address, options.seeds))
    table = {variant: pooled(answers) for variant, answers in variants.items()}
    result = {
        "seeds": options.seeds,
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "variants": table,
    }
    Path("docs/reproduction.json").write_text(json.dumps(result, indent=1) + "\n")
    Path("docs/reproduction.md").write_text(markdown(result))
    print(markdown(result))


async def run_all(address: str, seeds: list[int]) -> dict[str, dict[str, dict[str, Answers]]]:
    """variant -> method -> kind -> answers."""
    variants: dict[str, dict[str, dict[str, Answers]]] = {}
    async with AsyncClient(address) as client:
        model = await bundled_model(client)
        for variant, (changes, methods, prompt_set) in VARIANTS.items():
            collected: dict[str, dict[str, Answers]] = defaultdict(lambda: defaultdict(dict))
            for seed in seeds:
                sizes = Sizes()
                world = worlds.suite(
                    seed=seed,
                    reversal_worlds=sizes.reversal_worlds,
                    facts=sizes.facts,
                    syllogism_worlds=sizes.syllogism_worlds,
                    syllogism_count=sizes.syllogism_count,
                    catalogues=sizes.catalogues,
                    **changes,
                )
                documents, probes = await upload_worlds(client, world)
                request = study_request(
                    client, documents, probes, model, seed, methods=methods, prompt_set=prompt_set
                )
                study = await client.operations.wait(await client.stubs.studies.CreateStudy(request))
                print(f"{variant}, seed {seed}: {study.recommendation.method}", flush=True)
                await collect(client, study, seed, collected)
            variants[variant] = collected
    return variants


# variant -> (changes of the worlds, methods, prompt set)
VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "default": ({}, METHODS, ""),
    "held-out wordings": ({}, ("icl", "finetune", "augmented_finetune"), "heldout"),
    "held-out relations": ({"heldout_relations": True}, ("icl", "finetune", "augmented_finetune"), ""),
}


async def collect(
    client: AsyncClient, study: studies_pb2.Study, seed: int, into: dict[str, dict[str, Answers]]
) -> None:
    for outcome in study.outcomes:
        request = evaluator_pb2.ReadResultsRequest(name=outcome.evaluation)
        async for message in client.stubs.evaluator.ReadResults(request):
            for line in message.rows:
                row = json.loads(line)
                into[outcome.method][row["kind"]][(seed, row["cluster"], row["id"])] = row["value"]


def pooled(methods: dict[str, dict[str, Answers]]) -> dict[str, Any]:
    result: dict[str, Any] = {"methods": {}, "differences": {}}
    for method, kinds in methods.items():
        result["methods"][method] = {kind: summary(answers) for kind, answers in kinds.items()}
    for better, worse in (
        ("augmented_finetune", "icl"),
        ("augmented_finetune", "finetune"),
        ("shuffled_finetune", "finetune"),
    ):
        if better in methods and worse in methods:
            result["differences"][f"{better} - {worse}"] = {
                kind: summary({key: value - methods[worse][kind][key] for key, value in answers.items()})
                for kind, answers in methods[better].items()
            }
    return result


def summary(answers: Answers) -> dict[str, float]:
    """Mean and percentile interval, resampling whole worlds."""
    clusters: dict[tuple[int, str], list[float]] = defaultdict(list)
    for (seed, world, _), value in answers.items():
        clusters[(seed, world)].append(value)
    sums_C = np.array([sum(values) for values in clusters.values()])
    counts_C = np.array([len(values) for values in clusters.values()])
    drawn_RC = np.random.default_rng(0).integers(0, len(sums_C), (RESAMPLES, len(sums_C)))
    means_R = sums_C[drawn_RC].sum(1) / counts_C[drawn_RC].sum(1)
    low, high = np.percentile(means_R, [2.5, 97.5])
    return {
        "value": float(sums_C.sum() / counts_C.sum()),
        "ci95_low": float(low),
        "ci95_high": float(high),
        "n": int(counts_C.sum()),
        "clusters": len(sums_C),
    }


def markdown(result: dict[str, Any]) -> str:
    lines = [
        "# Reproduction on invented worlds",
        "",
        f"Seeds {result['seeds']}, {result['minutes']} minutes, commit {result['commit'][:12]}. The bundled model was",
        "pretrained for worlds like these (other names, other seeds); real text needs a real checkpoint. Share right, with",
        "95 % intervals (bootstrap over worlds, 10,000 resamples) and the number of probes.",
    ]
    for variant, table in result["variants"].items():
        for title, rows in (("", table["methods"]), (": differences, paired by probe", table["differences"])):
            if not rows:
                continue
            kinds = list(dict.fromkeys(kind for kinds in rows.values() for kind in kinds))
            lines += [
                "",
                f"## {variant}{title}",
                "",
                "| | " + " | ".join(kinds) + " |",
                "| --- " * (len(kinds) + 1) + "|",
            ]
            for name, by_kind in rows.items():
                cells = [
                    f"{c['value']:.3f} ({c['ci95_low']:.3f} to {c['ci95_high']:.3f}), n {c['n']}"
                    if (c := by_kind.get(kind))
                    else ""
                    for kind in kinds
                ]
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
