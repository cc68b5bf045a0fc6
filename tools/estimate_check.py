"""`make check-estimate`: what an estimate says of a study, and what the study then takes; writes docs/estimates.md and .json.

Processor seconds are compared, which do not depend on what else runs on the machine.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from ingrain import AsyncClient, worlds
from ingrain.v1 import studies_pb2
from tools import platform as local
from tools.worlds_study import DEMO_METHODS, Doses, bundled_model, study_request, upload_kept, upload_worlds

METHODS = tuple(method for method in DEMO_METHODS if method != "shuffled_finetune")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=12, help="of comparisons, and as many of syllogisms")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--into", type=Path, default=Path("docs"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingrain-") as folder, local.platform(Path(folder)) as address:
        found = asyncio.run(check(address, options))
    (options.into / "estimates.json").write_text(json.dumps(found, indent=1) + "\n")
    page = markdown(found)
    (options.into / "estimates.md").write_text(page)
    print(page)


async def check(address: str, options: argparse.Namespace) -> dict[str, Any]:
    async with AsyncClient(address) as client:
        model = await bundled_model(client)
        world = worlds.suite(
            seed=options.seed,
            reversal_worlds=options.worlds,
            facts=8,
            repeats=2,
            syllogism_worlds=options.worlds,
            syllogism_count=8,
            catalogues=1,
        )
        documents, probes = await upload_worlds(client, world)
        kept = await upload_kept(client, options.seed)
        request = study_request(
            client,
            documents,
            probes,
            model,
            options.seed,
            doses=Doses(max_steps=options.steps),
            methods=METHODS,
            retention=kept,
        )
        asked = studies_pb2.CreateStudyRequest()
        asked.CopyFrom(request)
        asked.validate_only = asked.trial = True
        asked.study_id = asked.request_id = ""
        started = time.monotonic()
        call = await client.stubs.studies.CreateStudy(asked, timeout=900)
        estimate = await client.operations.wait(call)
        trial_s = time.monotonic() - started
        study = await client.operations.wait(await client.stubs.studies.CreateStudy(request), timeout_s=1800)
        report = await client.studies.report(study.name)
    predicted = {"all": estimate.cost.compute_seconds}
    for note in estimate.notes:
        step, _, rest = note.partition(": about ")
        if rest:
            predicted[step] = float(rest.split()[0])
    measured = {step["id"]: step["cost"]["compute_seconds"] for step in report["steps"]}
    measured["reading the documents"] = sum(
        line["amount"]["compute_seconds"]
        for method in report["methods"].values()
        for line in method["cost"]["bill"]
        if line["what"] == "reading the documents"
    )
    measured["all"] = sum(measured.values())
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    return {
        "commit": commit,
        "documents": documents.row_count,
        "probes": probes.row_count,
        "steps": options.steps,
        "trial_seconds": round(trial_s, 1),
        "predicted": predicted,
        "measured": measured,
    }


def markdown(found: dict[str, Any]) -> str:
    lines = [
        "# An estimate and what the study took",
        "",
        f"`make check-estimate`, commit {found['commit'][:12]}: {found['documents']:,} documents, {found['probes']:,} probes, "
        f"{found['steps']} optimizer steps, on a platform that had measured nothing before. The estimate took "
        f"{found['trial_seconds']:.0f} seconds, most of them for two short trainings. Processor seconds:",
        "",
        "| step | estimated | taken | estimated / taken |",
        "| --- | ---: | ---: | ---: |",
    ]
    for step, taken in found["measured"].items():
        said = found["predicted"].get(step, 0.0)
        ratio = f"{said / taken:.2f}" if taken else ""
        lines.append(f"| {step} | {said:.1f} | {taken:.1f} | {ratio} |")
    lines += [
        "",
        "What the trial had done is kept and counts in the study as what it took then: a part of the augmentation and of the untrained model's "
        "answers stands in both columns. Trainings share nothing. Steps of a second or two are off by more than large ones; the sum is what an "
        "estimate is for. One run, one machine, the bundled model.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
