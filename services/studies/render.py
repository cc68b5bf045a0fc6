"""report.json -> report.md and report.html. Pure: everything shown is in the report."""

import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from services.studies import plots

READS = {
    "": "",
    "all": ", with the documents in its context",
    "subset": ", with a part of the documents in its context",
    "documents": ", with the documents that are found for a question in its context",
    "passages": ", with the passages that are found for a question in its context",
}


def render(report: Mapping[str, Any]) -> dict[str, bytes]:
    """By form: `json`, `md` and `html`, the last one self-contained (no script, nothing loaded)."""
    # Whose kinds are shown by what its own model wrote: the first that was trained on that.
    methods = report["methods"]
    augmented = [name for name in methods if name.startswith("augmented_")] or list(methods)
    written = augmented[0] if any(m["covered"] for m in methods.values()) else ""
    view = {
        "r": report,
        # Each kind as the first method that has it shows it, for metric, n and chance.
        "kinds": {k: v for m in reversed(report["methods"].values()) for k, v in m["kinds"].items()},
        "has_split": bool(written),
        "split_of": written,
        "seeds": max(len(m["seeds"]) for m in report["methods"].values()),
        "reads": READS,
        "reused": [step["id"] for step in report["steps"] if step["status"] == "REUSED"],
    }
    html = _environment(escape=True).get_template("report.html.jinja")
    markdown = _environment(escape=False).get_template("report.md.jinja")
    drawings = {"accuracy_plot": plots.accuracy_plot(report), "cost_plot": plots.cost_plot(report)}
    return {
        "json": (json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        "md": markdown.render(**view).encode(),
        "html": html.render(**view, **drawings, css=_template("report.css")).encode(),
    }


def si(value: float | None, unit: str = "FLOP") -> str:
    """`3.2 TFLOP`: three digits with a prefix."""
    if value is None:
        return ""
    if value == 0:
        return "none"
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{_three_digits(value / size)} {prefix}{unit}"
    return f"{_three_digits(value)} {unit}"


def duration(seconds: float | None) -> str:
    """`1 h 5 min`, `2 min 3 s`, `4.2 s`, `12 ms`; empty where it was not measured."""
    if not seconds:
        return ""
    if seconds < 1:
        return f"{_three_digits(1000 * seconds)} ms"
    if seconds < 60:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def points(share: float) -> str:
    """A difference in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def p(value: float) -> str:
    """A p-value: `0.012`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def verdict(word: str) -> str:
    """About the candidate, for people."""
    return {"equal": "within the tolerance", "open": "cannot be told"}.get(word, word)


def whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def tokens(value: float) -> str:
    """Few tokens with a decimal, for they are averages."""
    return "" if not value else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def questions(value: int | None) -> str:
    if value is None:
        return "never"
    return "from the first" if value <= 1 else f"from {value:,}"


def price(amount: str | None) -> str:
    """At least two decimals, and three digits that are not zero."""
    if amount is None:
        return ""
    value = float(amount)
    if value == 0 or value >= 1:
        return f"{value:,.2f}"
    return f"{value:.{2 - math.floor(math.log10(value))}f}"


def _three_digits(value: float) -> str:
    return (
        f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"
    )


def _environment(escape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown = {f.__name__: f for f in (si, duration, points, p, verdict, whole, tokens, questions, price)}
    environment.filters |= {**shown, "pct": plots.percent}
    return environment


def _template(name: str) -> str:
    return (resources.files("services.studies") / "templates" / name).read_text()
