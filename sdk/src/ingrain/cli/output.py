"""How the command line speaks: tables, JSON, names, errors, exit codes."""

import enum
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingrain import Client, errors
from ingrain.v1 import common_pb2

# Progress and remarks go to stderr, so that stdout holds the result alone.
stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False)


class Format(str, enum.Enum):
    TABLE = "table"
    JSON = "json"
    NAME = "name"
    LINES = "lines"


Output = Annotated[Format, typer.Option("--output", "-o", help="Form of the result.")]
# Of commands that wait: without a terminal nobody looks on, and programs read.
LongOutput = Annotated[
    Format | None,
    typer.Option(
        "--output",
        "-o",
        envvar="INGRAIN_OUTPUT",
        help="Form of the result. lines: progress and result as JSON lines, as without a terminal.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait for the end, or print the operation's name.")
]
CancelOnExit = Annotated[
    bool,
    typer.Option(
        "--cancel-on-exit",
        envvar="INGRAIN_CANCEL_ON_EXIT",
        help="Ctrl-C or SIGTERM while waiting cancels the work too.",
    ),
]


def chosen(output: Format | None) -> Format:
    return output or (Format.TABLE if sys.stdout.isatty() else Format.LINES)


def print_line(event: str, **told: Any) -> None:
    """One of JSON lines on stdout."""
    print(json.dumps({"event": event, **told}, ensure_ascii=False), flush=True)


@dataclass(frozen=True)
class Connection:
    target: str
    project: str
    tls: bool | Path
    request_id: str = ""  # of the long work that a command begins; empty: one made up

    def client(self) -> Client:
        return Client(self.target, project=self.project, tls=self.tls)


Columns = Mapping[str, Callable[[Any], str]]


def show(message: Message, output: Format, columns: Columns) -> None:
    """One resource: its name, its JSON, or a line per field."""
    if output is Format.NAME:
        print(message.name)
    elif output is Format.JSON:
        print_json(as_dict(message))
    elif output is Format.LINES:
        print_line("result", result=as_dict(message))
    else:
        table = Table.grid(padding=(0, 2))
        for title, cell in columns.items():
            if cell(message):
                table.add_row(Text(title, style="dim"), Text(cell(message), overflow="fold"))
        stdout.print(table, soft_wrap=False)


def show_all(messages: Iterable[Message], output: Format, columns: Columns, nothing: str) -> None:
    """A list: names, one JSON array, or a table."""
    found = list(messages)
    if output is Format.NAME:
        for message in found:
            print(message.name)
    elif output is Format.JSON:
        print_json([as_dict(message) for message in found])
    elif output is Format.LINES:
        for message in found:
            print_line("result", result=as_dict(message))
    elif not found:
        stderr.print(nothing)
    else:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for number, title in enumerate(columns):
            # The first column is what people copy.
            table.add_column(title, overflow="fold", no_wrap=number == 0)
        for message in found:
            table.add_row(*(Text(cell(message)) for cell in columns.values()))
        stdout.print(table, soft_wrap=False)


def as_dict(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def state(resource: Any) -> str:
    return common_pb2.State.Name(resource.state).lower()


def when(resource: Any) -> str:
    if not resource.HasField("create_time"):
        return ""
    return f"{resource.create_time.ToDatetime():%Y-%m-%d %H:%M}"


_HINTS = {
    grpc.StatusCode.UNAUTHENTICATED: "Set INGRAIN_API_KEY to a key of this project.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Try again; a long call can be made as an operation.",
}


def explain(error: errors.IngrainError) -> str:
    """One or two lines: what is wrong, what to do."""
    lines = [f"Error: {error}"]
    if error.operation:
        lines[0] += f" ({error.operation})"
    if error.code in _HINTS:
        lines.append(_HINTS[error.code])
    elif isinstance(error, errors.Internal) and error.request_id:
        lines.append(f"The platform's log has more under request {error.request_id}.")
    return "\n".join(lines)
