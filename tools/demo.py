"""`make demo`: the whole road on this machine, from invented documents to a decision and a model that answers.

Starts the platform on out/demo/<storage>, uploads the worlds of one seed, runs the study with live progress, prints
the comparison and the recommendation, asks every method the catalogue's question, and stops everything it started.
A second run finds what the first one made: only what changed is done again.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ingrain import AsyncClient, worlds
from ingrain.v1 import common_pb2, inference_pb2, studies_pb2
from tools import platform as local
from tools.worlds_study import (
    DEMO_METHODS,
    bundled_model,
    request_id,
    study_request,
    suite,
    upload_kept,
    upload_worlds,
)

OUT = Path("out/demo")
REPORTS = {"report.json": "JSON", "report.md": "MARKDOWN", "report.html": "HTML"}
console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", choices=["folder", "s3"], default="folder")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # As Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        home = (OUT / options.storage).absolute()
        variables = stack.enter_context(local.s3_server(home / "s3")) if options.storage == "s3" else {}
        # Money in the report; the table is an example.
        variables["INGRAIN_PRICES"] = str(Path("examples/prices.json").absolute())
        console.print(f"Starting the platform in [bold]{home.relative_to(Path.cwd())}[/] ...")
        address = stack.enter_context(local.platform(home / "platform", variables))
        console.print(f"It answers on {address} after {time.monotonic() - started:.0f} s.")
        asyncio.run(road(address, options.seed, worker_count=2 if options.storage == "s3" else 1))
    console.print(
        f"Everything that was started has been stopped. In all: {time.monotonic() - started:.0f} s."
    )


async def road(address: str, seed: int, worker_count: int) -> None:
    async with AsyncClient(address) as client:
        model = await bundled_model(client)
        world = suite(seed)
        documents, probes = await upload_worlds(client, world)
        console.print(
            f"{documents.row_count} documents and {probes.row_count} probes about invented things uploaded."
        )
        kept = await upload_kept(client, seed)
        request = study_request(
            client, documents, probes, model, seed, worker_count, methods=DEMO_METHODS, retention=kept
        )
        operation = await client.stubs.studies.CreateStudy(request)
        name = f"{client.parent}/studies/{request.study_id}"
        await watch(client, name)
        study = await client.operations.wait(operation)
        console.print(comparison(study))
        console.print(
            f"[bold]Recommendation: {study.recommendation.method}.[/] {study.recommendation.reason}\n"
        )
        console.print(await ask_everyone(client, study, world))
        for file, form in REPORTS.items():
            report = await client.stubs.studies.GetReport(
                studies_pb2.GetReportRequest(name=name, format=form)
            )
            (OUT / file).write_bytes(report.content)
        console.print(f"Reports: {', '.join(str(OUT / file) for file in REPORTS)}")


async def watch(client: AsyncClient, study: str) -> None:
    """One line per step that begins or ends, and one live line of what is at work."""
    at_work: dict[str, str] = {}
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        async for event in client.stubs.studies.WatchStudy(studies_pb2.WatchStudyRequest(name=study)):
            step, progress = event.step, event.progress
            status = studies_pb2.StudyStep.Status.Name(step.status)
            if status == "RUNNING":
                counts = (
                    f"{progress.completed_count}/{progress.total_count} {progress.unit}"
                    if progress.total_count
                    else ""
                )
                at_work[step.id] = f"{step.id}: {progress.stage or 'waiting'} {counts}"
            elif step.id:
                at_work.pop(step.id, None)
                took = f"{step.cost.wall_seconds:.0f} s" if step.cost.wall_seconds else ""
                console.print(f"  {status.lower():7} {step.id} [dim]{took}[/]", highlight=False)
            elif event.message:
                console.print(f"  {event.message}", highlight=False)
            live.update("  " + " | ".join(at_work.values()))


def comparison(study: studies_pb2.Study) -> Table:
    """Kinds down, methods across: six methods fit into 80 columns."""
    table = Table(title="Share right, with 95 % intervals")
    table.add_column("")
    for outcome in study.outcomes:
        table.add_column(outcome.method.replace("_", "\n"), justify="right")
    results = [{kind.kind: kind for kind in outcome.kinds} for outcome in study.outcomes]
    for kind in dict.fromkeys(kind for by_kind in results for kind in by_kind):
        cells = []
        for by_kind in results:
            result = by_kind[kind]
            cells.append(f"{result.value:.2f}\n[dim]{short(result.ci95_low)}-{short(result.ci95_high)}[/]")
        table.add_row(f"{kind}\n[dim]n {results[0][kind].n}[/]", *cells)
    table.add_section()
    table.add_row("FLOP to build", *(flops(outcome.build_cost) for outcome in study.outcomes))
    table.add_row("FLOP a question", *(flops(outcome.question_cost) for outcome in study.outcomes))
    if any(outcome.HasField("thousand_questions_price") for outcome in study.outcomes):
        prices = [outcome.thousand_questions_price for outcome in study.outcomes]
        currency = next(price.currency_code for price in prices if price.currency_code)
        table.add_row(f"{currency} to build", *(money(outcome.build_price) for outcome in study.outcomes))
        table.add_row(f"{currency} per 1,000", *map(money, prices))
    seconds = [outcome.latency_p95_seconds for outcome in study.outcomes]
    table.add_row("ms, 95 of 100", *(f"{1000 * s:.0f}" if s else "" for s in seconds))
    return table


def short(share: float) -> str:
    """`.47`; `1.0`."""
    return "1.0" if share >= 0.995 else f"{share:.2f}"[1:]


def flops(cost: common_pb2.Cost) -> str:
    return f"{cost.flops:.0e}".replace("e+", "e") if cost.flops else "0"


def money(price: common_pb2.Money) -> str:
    return f"{float(price.amount):.2g}" if price.amount else ""


async def ask_everyone(client: AsyncClient, study: studies_pb2.Study, world: worlds.World) -> Table:
    """The paper's own example: which internal tools for ... are there?"""
    probe = next(p for p in world.probes if p["kind"] == "list")
    group = probe["metadata"]["world"]
    table = Table(title=f"{probe['question']}\nRight: {', '.join(probe['answers'])}", title_justify="left")
    table.add_column("method")
    table.add_column("answer")
    table.add_column("tokens read", justify="right")
    for outcome in study.outcomes:
        request = inference_pb2.GenerateRequest(
            model=outcome.model,
            prompts=[f"Question: {probe['question']}\nAnswer:"],
            max_tokens=64,
            stop=["\n"],
        )
        if outcome.method in ("icl", "rag"):
            request.context = await catalogue_context(client, study, group, outcome.method)
        answer = await client.stubs.inference.Generate(request)
        text = answer.generations[0].text.strip()
        shown = text if len(text) <= 100 else f"{text[:100]} ..."
        table.add_row(outcome.method, shown, str(answer.usage.prompt_token_count))
    return table


async def catalogue_context(client: AsyncClient, study: studies_pb2.Study, group: str, method: str) -> str:
    spec = study.spec
    identity = request_id(spec.model, spec.dataset, group, method)
    passages = common_pb2.Retrieval(unit=common_pb2.Retrieval.PASSAGE) if method == "rag" else None
    request = inference_pb2.CreateContextRequest(
        parent=client.parent,
        context_id=f"ask-{identity[:8]}",
        context=inference_pb2.Context(
            model=spec.model,
            dataset=spec.dataset,
            selection=common_pb2.RowSelection(key=spec.group_key, value=group),
            retrieval=passages,
        ),
        request_id=identity,
    )
    context = await client.operations.wait(await client.stubs.inference.CreateContext(request))
    return context.name


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    main()
