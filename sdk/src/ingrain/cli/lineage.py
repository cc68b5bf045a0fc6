"""`ingrain lineage`: what came of documents, and taking them back."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ingrain import Client
from ingrain.cli.output import Format, Output, print_json, stderr, stdout
from ingrain.lineage_of import Lineage, Withdrawal, trained_on
from ingrain.names import short_id
from ingrain.v1 import trainer_pb2

_KINDS = ("contexts", "models", "evaluations", "studies", "batches", "aliases")
_MOST_LISTED = 12  # names of a kind


def lineage(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset.")],
    rows: Annotated[
        list[str],
        typer.Argument(metavar="ROW...", help="Ids of documents; of a split one the id that it had before."),
    ],
    withdraw: Annotated[
        bool,
        typer.Option("--withdraw", help="Take them back: out of this dataset and all derived from it."),
    ] = False,
    delete_models: Annotated[
        bool, typer.Option("--delete-models", help="With --withdraw: delete models trained on them, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is done.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """What came of documents: derived rows, contexts, models, reports.

    With --withdraw they go from everywhere where they can, and what has to be trained or run again is named. If it
    breaks off, the same command goes on.
    """
    if delete_models and not withdraw:
        raise typer.BadParameter("--delete-models goes with --withdraw")
    with context.obj.client() as client:
        if not withdraw:
            _show(client.lineage.of(dataset, rows), output)
            return
        if not yes:
            _ask(client, client.lineage.of(dataset, rows), delete_models)
        tell = lambda sentence: stderr.print(sentence, markup=False)  # noqa: E731
        done = client.lineage.withdraw(dataset, rows, delete_models=delete_models, tell=tell)
    _show_done(done, output)


def _ask(client: Client, found: Lineage, delete_models: bool) -> None:
    _table_of(found, stderr)
    models = f" and {len(found.models)} models" if delete_models and found.models else ""
    typer.confirm(
        f"Withdraw {_rows(_own(found))} of {short_id(found.dataset)}, {_rows(found.row_count)} derived from them and "
        f"{len(found.contexts)} contexts{models}? This cannot be undone",
        abort=True,
        err=True,
    )


def _show(found: Lineage, output: Format) -> None:
    if output is Format.TABLE:
        _table_of(found, stdout)
    elif output is Format.NAME:
        for name in dict.fromkeys([*(rows.dataset for rows in found.rows), *_names(found)]):
            print(name)
    else:
        print_json(_as_dict(found))


def _show_done(done: Withdrawal, output: Format) -> None:
    if output is Format.TABLE:
        rows = sum(done.withdrawn.values())
        told = f"{_rows(rows)} of {len(done.withdrawn)} datasets withdrawn."
        stdout.print(told if rows else "The rows were not there any more.", markup=False)
        for sentence in done.remaining:
            stdout.print(f"- {sentence}", soft_wrap=False, markup=False)
    elif output is Format.NAME:
        for name in (*done.withdrawn, *done.deleted):
            print(name)
    else:
        print_json(
            {
                "lineage": _as_dict(done.lineage),
                "withdrawn": dict(done.withdrawn),
                "deleted": list(done.deleted),
                "retrain": [model.name for model in done.retrain],
                "reports": list(done.reports),
                "remaining": list(done.remaining),
            }
        )


def _table_of(found: Lineage, console: Any) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, name, detail in _lines(found):
        table.add_row(Text(kind, style="dim"), name, Text(detail, style="dim"))
    console.print(table, soft_wrap=False)
    for name in found.copies:
        console.print(f"{short_id(name)} is the same dataset under another name.", soft_wrap=False)
    if not _own(found):
        console.print("The rows themselves are withdrawn; this was made before.", soft_wrap=False)


def _lines(found: Lineage) -> Iterator[tuple[str, str, str]]:
    steps = {0: "", 1: "derived from them"}
    for rows in found.rows:
        how = steps.get(rows.depth, f"{rows.depth} derivations away")
        yield "dataset", short_id(rows.dataset), ", ".join(filter(None, [_rows(len(rows.ids)), how]))
    models = {model.name for model in found.models}
    details = {
        "contexts": lambda c: f"{short_id(c.model)} reads {short_id(c.dataset)}",
        "models": lambda m: _trained(m, models, {rows.dataset for rows in found.rows}),
        "evaluations": lambda e: f"of {short_id(e.subject.model)}",
        "studies": lambda s: f"of {short_id(s.spec.dataset)}; its report",
        "batches": lambda b: f"of {short_id(b.model)}; answers in {short_id(b.output_dataset)}",
        "aliases": lambda a: f"stands for {short_id(a.target)}",
    }
    for kind in _KINDS:
        listed = getattr(found, kind)
        for one in listed[:_MOST_LISTED]:
            yield _SINGULAR[kind], short_id(one.name), details[kind](one)
        if len(listed) > _MOST_LISTED:
            yield _SINGULAR[kind], f"and {len(listed) - _MOST_LISTED} more", "all of them: -o json"


_SINGULAR = dict(zip(_KINDS, ("context", "model", "evaluation", "study", "batch", "alias"), strict=True))


def _trained(model: trainer_pb2.Model, models: set[str], datasets: set[str]) -> str:
    on = [short_id(name) for name in trained_on(model.training) if name in datasets]
    parts = [f"trained on {', '.join(on)}"] if on else []
    if model.base_model in models:
        parts.append(f"trained from {short_id(model.base_model)}")
    return "; ".join(parts) or "trained before rows were withdrawn"


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


def _own(found: Lineage) -> int:
    return sum(len(rows.ids) for rows in found.rows if not rows.depth)


def _names(found: Lineage) -> list[str]:
    return [one.name for kind in _KINDS for one in getattr(found, kind)]


def _as_dict(found: Lineage) -> dict[str, Any]:
    rows = [{"dataset": one.dataset, "depth": one.depth, "row_ids": list(one.ids)} for one in found.rows]
    named = {kind: [one.name for one in getattr(found, kind)] for kind in _KINDS}
    return {
        "dataset": found.dataset,
        "row_ids": list(found.row_ids),
        "copies": list(found.copies),
        "rows": rows,
        **named,
    }
