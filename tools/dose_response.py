"""`make dose-response`: how much to derive; 1, 4 and 16 samples of each prompt at equal training steps. Writes docs/dose.md, .json.

Each dose is a study of its own on a platform of its own: every training takes the same steps, so that doses differ by their data
only. Outputs of a smaller dose are the first ones of a larger. What an earlier run made is found and not made again.
"""

import argparse
import asyncio
import json
import subprocess
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import evaluator_pb2, studies_pb2
from tools import platform as local
from tools.dose_report import NONE, Dosed, markdown, result_of
from tools.worlds_study import Doses, Sizes, bundled_model, study_request, suite, upload_worlds

OUT = Path("out/dose")
PRICES = Path("examples/prices.json")
# As in sampling a larger model; greedily a second sample would be the first one again.
TEMPERATURE = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 4, 16], help="of each prompt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--worlds", type=int, default=8, help="of comparisons, and as many of syllogisms")
    parser.add_argument("--steps", type=int, default=Doses.max_steps, help="of every training")
    parser.add_argument("--into", type=Path, default=Path("docs"))
    options = parser.parse_args()
    started = time.monotonic()
    sizes = replace(Sizes(), reversal_worlds=options.worlds, syllogism_worlds=options.worlds, catalogues=0)
    doses = Doses(max_steps=options.steps, temperature=TEMPERATURE)
    with local.platform(OUT.absolute() / "platform", {"INGRAIN_PRICES": str(PRICES.absolute())}) as address:
        found = asyncio.run(measured(address, options.seeds, sorted(options.samples), sizes, doses))
    result = result_of(found) | {
        "seeds": options.seeds,
        "worlds": 2 * options.worlds,
        "facts": sizes.facts,
        "steps": options.steps,
        "temperature": TEMPERATURE,
        "min_agreement": doses.min_agreement,
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip(),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    (options.into / "dose.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.into / "dose.md").write_text(markdown(result))
    print(markdown(result))


async def measured(
    address: str, seeds: list[int], samples: list[int], sizes: Sizes, doses: Doses
) -> dict[str, Dosed]:
    """By dose: none (trained on the documents alone), then each number of samples."""
    found: dict[str, Dosed] = defaultdict(Dosed)
    async with AsyncClient(address) as client:
        model = await bundled_model(client)
        for seed in seeds:
            documents, probes = await upload_worlds(client, suite(seed, sizes))
            for count in samples:
                started = time.monotonic()
                request = study_request(
                    client,
                    documents,
                    probes,
                    model,
                    seed,
                    doses=replace(doses, samples_per_document=count),
                    methods=("finetune", "augmented_finetune"),
                )
                study = await client.operations.wait(await client.stubs.studies.CreateStudy(request))
                report = await client.studies.report(study.name.rpartition("/")[2])
                if NONE not in found or seed not in found[NONE].seeds:
                    await collect(client, study, "finetune", seed, found[NONE])
                await collect(client, study, "augmented_finetune", seed, found[f"{count}x"])
                found[f"{count}x"].derived.append(derived_in(report))
                print(f"seed {seed}, {count}x: {time.monotonic() - started:.0f} s", flush=True)
    return dict(found)


async def collect(client: AsyncClient, study: studies_pb2.Study, method: str, seed: int, into: Dosed) -> None:
    """The method's answers, with ids and clusters that say the seed."""
    (outcome,) = [one for one in study.outcomes if one.method == method]
    request = evaluator_pb2.ReadResultsRequest(name=outcome.evaluation)
    async for message in client.stubs.evaluator.ReadResults(request):
        for line in message.rows:
            row = json.loads(line)
            into.rows.append(
                {
                    "id": f"{seed} {row['id']}",
                    "kind": row["kind"],
                    "cluster": f"{seed} {row['cluster']}",
                    "value": row["value"],
                }
            )
    into.seeds.append(seed)


def derived_in(report: dict[str, Any]) -> dict[str, Any]:
    """What the augmentation of one study gave and took."""
    derived = report["augmentation"]["augment"]
    (step,) = [one for one in report["steps"] if one["id"] == "augment"]
    return {
        "rows": derived["row_count"],
        "tokens": derived["token_count"],
        "dropped": derived["dropped"],
        "prompts": derived["prompt_count"],
        "covered": derived["labels"]["covered"]["count"],
        "flops": derived["cost"]["flops"],
        "compute_seconds": derived["cost"]["compute_seconds"],
        "price": step["price"],
        "currency": report["prices"]["currency_code"] if report["prices"] else "",
    }


if __name__ == "__main__":
    main()
