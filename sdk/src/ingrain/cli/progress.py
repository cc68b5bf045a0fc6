"""Live progress of long work: bars in a terminal, JSON lines elsewhere; both on stderr, or among the result's lines."""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from ingrain import Client, Operation, errors
from ingrain.cli.ending import INTERRUPTED, TERMINATED, Terminated, tell
from ingrain.cli.output import Format, stderr
from ingrain.names import short_id
from ingrain.v1 import common_pb2, studies_pb2

_LINE_EVERY_S = 5.0
_LEFT = re.compile(r"about ([0-9.]+ \w+ left)")
_MARKS = {"RUNNING": " ", "DONE": "✓", "REUSED": "↺", "ERROR": "✗", "STATUS_UNSPECIFIED": " "}


class Reporter(Protocol):
    def step(self, id: str, status: str, metadata: common_pb2.OperationMetadata) -> None: ...
    def line(self, text: str) -> None: ...


def wait(operation: Operation, output: Format, cancel_on_exit: bool = False) -> Any:
    """The finished resource, with progress meanwhile. Ctrl-C and SIGTERM detach."""
    with leaving(operation, cancel_on_exit), reporter(output) as report:
        for metadata in operation.progress():
            report.step(_title(metadata), "RUNNING", metadata)
        return operation.result()


def wait_for_study(
    client: Client, study: str, operation: Operation, output: Format, cancel_on_exit: bool = False
) -> studies_pb2.Study:
    """The same with a line for each of the study's steps."""
    with leaving(operation, cancel_on_exit), reporter(output) as report:
        for event in client.studies.watch(study):
            if event.step.id:
                status = studies_pb2.StudyStep.Status.Name(event.step.status)
                report.step(event.step.id, status, event.progress)
            elif event.message:
                report.line(event.message)
        return operation.result()


@contextmanager
def leaving(operation: Operation, cancel_on_exit: bool) -> Iterator[None]:
    """Says how to come back, or cancels, where a signal ends the waiting."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as left:
        code = TERMINATED if isinstance(left, Terminated) else INTERRUPTED
    else:
        return
    short = operation.name.split("/", 2)[-1]
    status, said = "detached", f"Detached; the work goes on. Wait again: ingrain operation wait {short}"
    if cancel_on_exit:
        try:
            operation.cancel()
            status, said = "cancelled", f"Cancelled {short}; what was finished is kept."
        except errors.IngrainError as error:
            said = (
                f"It could not be cancelled and goes on: {error}. Cancel it: ingrain operation cancel {short}"
            )
    print(f"\n{said}", file=sys.stderr)
    tell(status, code, operation=operation.name, message=said)
    raise typer.Exit(code)


@contextmanager
def reporter(output: Format) -> Iterator[Reporter]:
    if output is Format.LINES:
        yield _Lines(sys.stdout)
        return
    if output is Format.JSON or not sys.stderr.isatty():
        yield _Lines(sys.stderr)
        return
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.fields[mark]} {task.description}"),
        BarColumn(bar_width=20),
        _Counts(),
        _Time(),
    )
    with Progress(*columns, console=stderr) as progress:
        yield _Bars(progress)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def step(self, id: str, status: str, metadata: common_pb2.OperationMetadata) -> None:
        if id not in self._tasks:
            self._tasks[id] = self._progress.add_task(escape(id), total=None, mark=" ", unit="", left="")
        task = self._tasks[id]
        total = metadata.total_count or None
        left = _LEFT.search(metadata.message)
        self._progress.update(
            task,
            total=total,
            completed=metadata.completed_count,
            mark=_MARKS[status],
            unit=metadata.unit,
            left=left[1] if left else "",
        )
        if status in ("DONE", "REUSED", "ERROR"):
            self._progress.update(task, total=total or 1, completed=total or 1)
            self._progress.stop_task(task)

    def line(self, text: str) -> None:
        self._progress.console.print(escape(text))


class _Counts(ProgressColumn):
    def render(self, task: Task) -> Text:
        if not task.total or not task.fields["unit"]:
            return Text("")
        return Text(f"{task.completed:g}/{task.total:g} {task.fields['unit']}", style="dim")


class _Time(TimeElapsedColumn):
    """How long it has taken; how long it will take, where that is known."""

    def render(self, task: Task) -> Text:
        if task.fields["left"] and not task.finished:
            return Text(task.fields["left"], style="progress.remaining")
        return super().render(task)


class _Lines:
    """One JSON object when a step's status or stage changes, and every few seconds while it is at work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, tuple[str, str, int]] = {}
        self._told_s: dict[str, float] = {}

    def step(self, id: str, status: str, metadata: common_pb2.OperationMetadata) -> None:
        now_s = time.monotonic()
        known = (status, metadata.stage, metadata.total_count)
        if self._last.get(id) == known and now_s - self._told_s[id] < _LINE_EVERY_S:
            return
        self._last[id], self._told_s[id] = known, now_s
        self._print(
            {
                "step": id,
                "status": status.lower(),
                "completed": metadata.completed_count,
                "total": metadata.total_count,
                "unit": metadata.unit,
                "message": metadata.message,
            }
        )

    def line(self, text: str) -> None:
        self._print({"message": text})

    def _print(self, told: dict[str, Any]) -> None:
        told = {key: value for key, value in told.items() if value not in ("", 0)}
        if self._stream is sys.stdout:
            told = {"event": "progress", **told}
        print(json.dumps(told, ensure_ascii=False), file=self._stream, flush=True)


def _title(metadata: common_pb2.OperationMetadata) -> str:
    return f"{short_id(metadata.target)} {metadata.stage or 'waiting'}"
