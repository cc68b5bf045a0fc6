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
from tools.worlds_study import bundled_model, request_id, study_request, suite, upload_worlds

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
        request = study_request(client, documents, probes, model, seed, worker_count)
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
    """Kinds down, methods across: five methods fit into 80 columns."""
    table = Table(title="Share right, with 95 % intervals")
    table.add_column("")
    for outcome in study.outcomes:
        table.add_column(outcome.method.replace("_", "\n"), justify="right")
    results = [{kind.kind: kind for kind in outcome.kinds} for outcome in study.outcomes]
    for kind in dict.fromkeys(kind for by_kind in results for kind in by_kind):
        cells = []
        for by_kind in results:
            result = by_kind[kind]
            cells.append(f"{result.value:.2f}\n[dim]{result.ci95_low:.2f}-{result.ci95_high:.2f}[/]")
        table.add_row(f"{kind}\n[dim]n {results[0][kind].n}[/]", *cells)
    table.add_section()
    table.add_row("FLOP to build", *(flops(outcome.build_cost) for outcome in study.outcomes))
    table.add_row("FLOP a question", *(flops(outcome.question_cost) for outcome in study.outcomes))
    return table


def flops(cost: common_pb2.Cost) -> str:
    return f"{cost.flops:.1e}" if cost.flops else "0"


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
        if outcome.method == "icl":
            request.context = await catalogue_context(client, study, group)
        answer = await client.stubs.inference.Generate(request)
        text = answer.generations[0].text.strip()
        shown = text if len(text) <= 100 else f"{text[:100]} ..."
        table.add_row(outcome.method, shown, str(answer.usage.prompt_token_count))
    return table


async def catalogue_context(client: AsyncClient, study: studies_pb2.Study, group: str) -> str:
    spec = study.spec
    identity = request_id(spec.model, spec.dataset, group)
    request = inference_pb2.CreateContextRequest(
        parent=client.parent,
        context_id=f"ask-{identity[:8]}",
        context=inference_pb2.Context(
            model=spec.model,
            dataset=spec.dataset,
            selection=common_pb2.RowSelection(key=spec.group_key, value=group),
        ),
        request_id=identity,
    )
    context = await client.operations.wait(await client.stubs.inference.CreateContext(request))
    return context.name


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    main()
