"""`--fail-below KIND=VALUE`: an evaluation that has to reach something, for pipelines."""

import sys
from collections.abc import Iterable, Mapping

import typer

from ingrain.cli.ending import BELOW, tell
from ingrain.cli.output import Format, print_line
from ingrain.errors import Invalid
from ingrain.v1.evaluator_pb2 import Evaluation


def parsed(texts: Iterable[str]) -> dict[str, float]:
    """Least values by kind. Raises BadParameter, before anything is asked."""
    least = {}
    for text in texts:
        kind, equals, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not kind or not equals or not 0 <= number <= 1:
            raise typer.BadParameter(
                f"{text!r} is no gate; write a kind of probe and a value from 0 to 1, such as reversal=0.8",
                param_hint="--fail-below",
            )
        least[kind] = number
    return least


def judge(evaluation: Evaluation, least: Mapping[str, float], output: Format) -> None:
    """Says how it went, and ends the command with BELOW where a kind has less than it should."""
    found = {kind.kind: kind for kind in evaluation.kinds}
    below = []
    for kind, wanted in least.items():
        if kind not in found:
            raise Invalid(
                f"--fail-below: there is no kind {kind} among the probes; there are: {', '.join(found)}",
                reason="NO_SUCH_KIND",
            )
        if found[kind].metric == "bits_per_byte":
            raise Invalid(
                f"--fail-below: {kind} is measured in bits per byte, of which fewer are better; a gate needs probes",
                reason="NO_GATE_FOR_TEXT",
            )
        if not found[kind].value >= wanted:
            below.append(f"{kind} {found[kind].value:.3f} is below {wanted:g}")
    values = {kind.kind: round(kind.value, 4) for kind in evaluation.kinds}
    if not below:
        verdict = "passed" if least else ""
        if least and output is Format.LINES:
            print_line("gate", passed=True, values=values)
        tell("done", 0, evaluation=evaluation.name, verdict=verdict, values=values)
        return
    said = "; ".join(below)
    if output is Format.LINES:
        print_line("gate", passed=False, values=values, message=said)
    print(f"The gate is not passed: {said}", file=sys.stderr)
    tell("below", BELOW, evaluation=evaluation.name, verdict=said, values=values)
    raise typer.Exit(BELOW)
