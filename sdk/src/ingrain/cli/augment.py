"""`ingrain augment`: a dataset of what a model infers from documents."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ingrain.cli import augment_options as options
from ingrain.cli.beginning import begun
from ingrain.cli.ending import tell
from ingrain.cli.estimating import show_estimate
from ingrain.cli.output import (
    CancelOnExit,
    Format,
    LongOutput,
    Wait,
    as_dict,
    chosen,
    print_json,
    show,
    stdout,
)
from ingrain.cli.progress import wait
from ingrain.names import short_id
from ingrain.units import count, duration
from ingrain.v1 import augmenter_pb2, datasets_pb2

_DEFAULT = ("rephrase", "reverse", "infer", "link", "about")
_SHOWN_PROMPT = 900  # characters of a prompt that a preview shows


def augment(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The documents.")],
    model: Annotated[
        str, typer.Option("--model", help="The model that writes; not needed where no strategy asks one.")
    ] = "",
    id: Annotated[str, typer.Option("--id", help="Id of the new dataset; made up where empty.")] = "",
    strategy: options.Strategies = None,
    samples: Annotated[int, typer.Option(help="Samples of each prompt; 0 takes 2.")] = 0,
    target_tokens: Annotated[
        int, typer.Option(help="Stop when kept rows hold so many tokens; 0: all samples.")
    ] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="Of sampling; 0 is greedy. Default 0.7.", min=0.0, max=2.0)
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest output; 0 takes 128.")] = 0,
    seed: int = 0,
    gate: options.Gates = None,
    prompt: options.Prompts = None,
    prompt_set: Annotated[str, typer.Option(help="default or heldout.")] = "",
    context_documents: Annotated[
        int, typer.Option(help="Documents that a global strategy reads, the likest ones; 0: all that fit.")
    ] = 0,
    original_copies: Annotated[int, typer.Option(help="Copies of the documents among the rows.")] = 0,
    min_agreement: Annotated[
        int, typer.Option(help="Different prompts that must write the same with several documents in sight.")
    ] = 0,
    group_key: Annotated[str, typer.Option(help="Metadata key of sets with contexts of their own.")] = "",
    distinct_key: Annotated[str, typer.Option(help="Documents that share it are read once.")] = "",
    preview: Annotated[
        int,
        typer.Option("--preview", metavar="N", help="Show prompts and rows of N documents; store no row."),
    ] = 0,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what it would take; start nothing.")
    ] = False,
    wait_: Wait = True,
    cancel_on_exit: CancelOnExit = False,
    output: LongOutput = None,
) -> None:
    """Let a model write down what follows from documents.

    The result is a dataset to train on, each row with where it came from. What was asked before is not asked again.
    """
    given: dict[str, Any] = {
        "strategies": strategy,
        "samples_per_document": samples,
        "target_tokens": target_tokens,
        "max_tokens": max_tokens,
        "seed": seed,
        "prompts": options.prompts_of(prompt),
        "prompt_set": prompt_set,
        "context_document_count": context_documents,
        "original_copies": original_copies,
        "min_agreement": min_agreement,
        "group_key": group_key,
        "distinct_key": distinct_key,
    }
    with context.obj.client() as client:
        given["gates"] = options.gates_of(gate, client.model_name)
        spec = {name: value for name, value in given.items() if value}
        spec |= {} if temperature is None else {"temperature": temperature}
        if preview:
            shown = client.datasets.preview_augmentation(dataset, model, preview, **spec)
            _show_preview(shown, output or Format.TABLE, strategy or _DEFAULT)
            return
        operation = begun(
            "" if estimate else context.obj.request_id,
            lambda request_id: client.datasets.augment(
                dataset, model, id=id, validate_only=estimate, request_id=request_id, **spec
            ),
        )
        if estimate:
            found = operation.result()
            show_estimate(found) if output in (None, Format.TABLE) else print_json(as_dict(found))
            return
        if not wait_:
            print(operation.name)
            return
        output = chosen(output)
        made = wait(operation, output, cancel_on_exit)
    _show_made(made, output)
    tell("done", 0, dataset=made.name, verdict=told_of(made))


def _show_made(dataset: datasets_pb2.Dataset, output: Format) -> None:
    if output is not Format.TABLE:
        show(dataset, output, {})
        return
    made = dataset.provenance
    stdout.print(f"{dataset.name}\n{told_of(dataset)}\n", soft_wrap=False)
    kept = [(name, f"{made.kept_counts[name]:,}") for name in in_order(made.kept_counts, made.strategies)]
    _table([("kept", "rows"), *kept])
    dropped = sorted(made.dropped_counts.items(), key=lambda item: -item[1])
    if dropped:
        examples = {reason: list(found.texts)[:1] for reason, found in made.dropped_examples.items()}
        rows = [
            (reason.replace("_", " "), f"{number:,}", *(examples.get(reason) or [""]))
            for reason, number in dropped
        ]
        stdout.print("")
        _table([("dropped", "times", "for example"), *rows])
    if made.notes:
        stdout.print("")
    for note in made.notes:
        stdout.print(f"- {note}", soft_wrap=False, markup=False)


def told_of(dataset: datasets_pb2.Dataset) -> str:
    """Rows, tokens, time, money and what was there already, in sentences."""
    made, cost = dataset.provenance, dataset.provenance.cost
    rows = f"{dataset.row_count:,} rows"
    if made.token_count:
        rows += f" of {count(made.token_count)} tokens"
    sentences = [f"{rows} from {short_id(made.source_dataset)}."]
    if made.prompt_count:
        asked = f"{made.prompt_count:,} prompts"
        sentences.append(
            f"{asked}, {made.reused_prompt_count:,} of them answered before."
            if made.reused_prompt_count
            else f"{asked}."
        )
    if cost.generated_token_count:
        known = f", {count(cost.cached_token_count)} from a cache" if cost.cached_token_count else ""
        read = count(cost.prompt_token_count)
        sentences.append(f"Read {read} tokens{known}, wrote {count(cost.generated_token_count)}.")
    if cost.wall_seconds:
        sentences.append(f"It took {duration(cost.wall_seconds)}.")
    if made.price.amount:
        sentences.append(f"Its price: {made.price.amount} {made.price.currency_code}.")
    return " ".join(sentences)


def _table(rows: list[tuple[str, ...]]) -> None:
    """The first row is the header; the last of three columns is cut to one line."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    widths = [max(len(row[number]) for row in rows) for number in (0, 1)]
    room = stdout.width - sum(widths) - 4
    for number, title in enumerate(rows[0]):
        table.add_column(title, justify="right" if number == 1 else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row[:2], *(Text(cut(example, room)) for example in row[2:]))
    stdout.print(table, soft_wrap=False)


def cut(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def in_order(names: Iterable[str], strategies: Iterable[str]) -> list[str]:
    """As the strategies were asked for, then others."""
    found = set(names)
    return [name for name in dict.fromkeys([*strategies, *sorted(found)]) if name in found]


def _show_preview(
    shown: augmenter_pb2.PreviewAugmentationResponse, output: Format, strategies: Iterable[str]
) -> None:
    if output is not Format.TABLE:
        print_json(as_dict(shown))
        return
    rows = [json.loads(row) for row in shown.rows]
    of_rows = [(row.get("metadata") or {}).get("strategy", "") for row in rows]
    names = [*shown.prompts, *of_rows, *(one.strategy for one in shown.dropped)]
    for name in in_order(names, strategies):
        stdout.print(Text(name, style="bold"), soft_wrap=False)
        if name in shown.prompts:
            _indented("prompt", shortened(shown.prompts[name]), "dim")
        for row, strategy in zip(rows, of_rows, strict=True):
            if strategy == name:
                _indented("kept", row["text"])
        for one in shown.dropped:
            if one.strategy == name:
                _indented("dropped", f"{one.text} ({one.reason.replace('_', ' ')})".strip(), "dim")
        stdout.print("")


def _indented(title: str, text: str, style: str = "") -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=9)
    table.add_column(overflow="fold")
    table.add_row(Text(f"  {title}", style="dim"), Text(text, style=style))
    stdout.print(table, soft_wrap=False)


def shortened(prompt: str) -> str:
    """Its beginning and its end; what is between is mostly documents."""
    if len(prompt) <= _SHOWN_PROMPT:
        return prompt
    half = _SHOWN_PROMPT // 2
    return f"{prompt[:half]}\n[... {len(prompt) - 2 * half:,} characters ...]\n{prompt[-half:]}"
