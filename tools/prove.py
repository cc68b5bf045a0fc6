"""`make prove MODEL=<folder or hub id> DOCS=<folder>`: the whole question put to one checkpoint and one set of documents.

Starts a platform on this machine, looks whether the checkpoint can read the documents, makes probes where there are none,
says what it will take, runs the study and writes a one-page verdict and a result file that holds no word of the
documents and can be shared.
"""

import argparse
import contextlib
import json
import signal
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from ingrain import Client
from ingrain.cli.estimating import show_estimate
from ingrain.cli.output import Format, stderr, stdout
from ingrain.cli.own_documents import BUNDLED, bring_in, prepared, refuse_narrow, slug
from ingrain.cli.own_probes import FILE
from ingrain.cli.progress import wait_for_study
from ingrain.names import target_of
from ingrain.rows import read_rows
from tools import platform as local
from tools.preflight import preflight
from tools.proof import proof, verdict_html, verdict_markdown

OUT = Path("out/prove")
PROOFS = Path("docs/proofs")


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(options.docs).expanduser()
    if not folder.exists():
        sys.exit(f"{folder} does not exist; DOCS names a folder of .txt, .md or .jsonl files")
    name = f"{slug(Path(options.model).name)}-{slug(folder.resolve().name)}"
    home = (OUT / name).absolute()
    with contextlib.ExitStack() as stack:
        stderr.print(f"Starting the platform in {home / 'platform'} ...")
        variables = {"INGRAIN_PRICES": str(Path(options.prices).absolute())} if options.prices else {}
        address = stack.enter_context(local.platform(home / "platform", variables))
        with Client(address) as client:
            result = prove(client, folder, options)
    if result is None:
        return
    write(result, home, Path(options.results), f"{date.today().isoformat()}-{name}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=BUNDLED, help="folder, hub id or bundled://small")
    parser.add_argument(
        "--docs", required=True, help="folder of documents; probes.jsonl in it is taken as probes"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask whether the estimate is acceptable")
    parser.add_argument("--max-hours", type=float, default=0.0, help="run only if the estimate is below")
    parser.add_argument("--estimate-only", action="store_true", help="stop after the estimate")
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps of each training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--method", action="append", default=[], help="instead of those that fit the documents"
    )
    parser.add_argument("--prices", default="", help="price table (examples/prices.json)")
    parser.add_argument("--results", default=str(PROOFS), help="folder of the result file")
    return parser.parse_args()


def prove(client: Client, folder: Path, options: argparse.Namespace) -> dict[str, Any] | None:
    started = time.monotonic()
    model = bring_in(client, options.model, Format.TABLE)
    rows = read_rows(folder, without=[FILE])
    refuse_narrow(client, model, rows)
    checked = preflight(client, model, rows)
    for line in checked.lines():
        stderr.print(line)
    study = prepared(
        client,
        folder,
        model.name,
        None,
        Format.TABLE,
        steps=options.steps,
        seed=options.seed,
        group_key="",
        methods=options.method,
        display_name=f"{Path(options.model).name} on {folder.resolve().name}",
    )
    estimate = client.studies.estimate(trial=True, **study)
    stderr.print("What it will take:")
    show_estimate(estimate)
    if options.estimate_only or not accepted(estimate.cost.compute_seconds / 3600, options):
        return None
    operation = client.studies.create(**study)
    name = target_of(operation.name)
    wait_for_study(client, name, operation, Format.TABLE)
    report = client.studies.report(name)
    page = client.studies.report(name, "html")
    took = time.monotonic() - started
    return {
        "proof": proof(report, checked, estimate, took, client.datasets.get(study["probes"])),
        "report": report,
        "html": page,
    }


def accepted(hours: float, options: argparse.Namespace) -> bool:
    """By `--yes`, by a limit, or by whoever sits at the terminal."""
    if options.yes or (options.max_hours and hours <= options.max_hours):
        return True
    if options.max_hours:
        stderr.print(
            f"About {hours:.1f} hours are more than --max-hours {options.max_hours:g}; nothing was run."
        )
        return False
    if not sys.stdin.isatty():
        stderr.print("Nobody is asked here: give --yes, or --max-hours.")
        return False
    return input("Run it? [y/N] ").strip().lower() in ("y", "yes")


def write(result: dict[str, Any], home: Path, results: Path, name: str) -> None:
    report, found = result["report"], result["proof"]
    home.mkdir(parents=True, exist_ok=True)
    (home / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    (home / "report.html").write_text(result["html"], encoding="utf-8")
    (home / "verdict.md").write_text(verdict_markdown(found), encoding="utf-8")
    (home / "verdict.html").write_text(verdict_html(found), encoding="utf-8")
    results.mkdir(parents=True, exist_ok=True)
    file = results / f"{name}.json"
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    stdout.print(verdict_markdown(found), markup=False, soft_wrap=True)
    stderr.print(
        f"Verdict: {home / 'verdict.html'}; whole report: {home / 'report.html'}; result file: {file}"
    )


if __name__ == "__main__":
    main()
