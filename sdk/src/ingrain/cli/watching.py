"""`ingrain model watch` and `ingrain model logs`: a training as it goes, and what its processes wrote."""

import json
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from ingrain.cli.output import Format, Output, as_dict, stdout
from ingrain.units import short_duration
from ingrain.v1 import trainer_pb2


def watch(
    context: typer.Context,
    name: str,
    start_step: Annotated[int, typer.Option("--from", help="First step to show.")] = 1,
    output: Output = Format.TABLE,
) -> None:
    """Follow a training until it ends; Ctrl-C leaves it running. In a terminal one line that is drawn anew, else a line per step."""
    with context.obj.client() as client:
        snapshots = client.models.watch(name, start_step)
        try:
            if output is Format.JSON:
                for snapshot in snapshots:
                    print(json.dumps(as_dict(snapshot), ensure_ascii=False), flush=True)
            elif stdout.is_terminal:
                with Live(console=stdout, refresh_per_second=4) as live:
                    for snapshot in snapshots:
                        if told := measured(snapshot):
                            live.console.print(told)
                        live.update(Text(line(snapshot), no_wrap=True, overflow="ellipsis"))
            else:
                for snapshot in snapshots:
                    told = measured(snapshot)
                    print(line(snapshot) + (f"  {told}" if told else ""), flush=True)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def logs(context: typer.Context, name: str) -> None:
    """What the training's processes wrote, of all attempts; kept when they are gone."""
    with context.obj.client() as client:
        for text in client.models.logs(name):
            print(text)


def line(snapshot: trainer_pb2.TrainingSnapshot) -> str:
    """A step in 80 columns."""
    parts = [
        f"step {snapshot.step}/{snapshot.step_count}",
        f"loss {snapshot.loss:.4g}",
        f"lr {snapshot.learning_rate:.1e}",
        f"norm {snapshot.grad_norm:.3g}",
        f"{short(snapshot.tokens_per_second)} tok/s",
    ]
    if snapshot.HasField("model_flops_utilization"):
        parts.append(f"MFU {snapshot.model_flops_utilization:.0%}")
    if snapshot.HasField("remaining_duration") and snapshot.step < snapshot.step_count:
        parts.append(f"ETA {short_duration(snapshot.remaining_duration.ToSeconds())}")
    return " ".join(parts)


def measured(snapshot: trainer_pb2.TrainingSnapshot) -> str:
    """What was measured after this step; nothing where nothing was."""
    if not snapshot.HasField("measurement"):
        return ""
    found = snapshot.measurement
    parts = []
    if found.HasField("eval_loss"):
        parts.append(f"eval_loss {found.eval_loss:.4g}")
    if found.HasField("acc"):
        parts.append(f"acc {found.acc:.3f}")
    return f"measured after step {found.step}: {', '.join(parts)}" if parts else ""


def short(count: float) -> str:
    return f"{count:.0f}" if count < 1000 else f"{count / 1000:.3g}k"
