"""report.json -> report.md and report.html. Pure: everything shown is in the report."""

import json
import math
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from ingrain.units import duration
from services.studies import plots
from services.studies.costs import FLOP
from services.studies.figures import points, si

TOKEN_MEAN = "acc_token_norm"
MONEY_DIGITS = 6  # as amounts are rounded
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
    shown = {kind: found for m in reversed(methods.values()) for kind, found in m["kinds"].items()}
    view = {
        "r": report,
        # Each kind as the first method that has it shows it, for metric, n and chance.
        "kinds": shown,
        # Kinds of choices, of which the other way to choose is known.
        "chosen": [kind for kind, found in shown.items() if TOKEN_MEAN in found["metrics"]],
        "token_mean": TOKEN_MEAN,
        "has_split": bool(written),
        "split_of": written,
        "has_rows": any(m["derived_rows"] for m in methods.values()),
        "excludes": excludes(report["inputs"]["spec"].get("exclusion", {})),
        "seeds": max(len(m["seeds"]) for m in report["methods"].values()),
        "timed": min((m["latency"]["n"] for m in methods.values() if m["latency"]), default=0),
        "worked": worked(report),
        "reads": READS,
        "reused": [step["id"] for step in report["steps"] if step["status"] == "REUSED"],
    }
    page = _environment(escape=True).get_template("report.html.jinja")
    markdown = _environment(escape=False).get_template("report.md.jinja")
    drawings = {"accuracy_plot": plots.accuracy_plot(report), "cost_plot": plots.cost_plot(report)}
    html = page.render(**view, **drawings, css=_template("report.css"))
    return {
        "json": (json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        "md": markdown.render(**view).encode(),
        "html": _unbroken(html).encode(),
    }


def excludes(exclusion: Mapping[str, Any]) -> str:
    """What rows are left out for, in words; empty where none are."""
    return " or ".join(
        word for key, word in (("seen", "question"), ("covered", "answer")) if exclusion.get(key)
    )


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
    return f"{value:.{min(MONEY_DIGITS, 2 - math.floor(math.log10(value)))}f}"


def money_or_si(value: float | None, unit: str) -> str:
    """A total in the unit that decided."""
    if value is None:
        return ""
    return si(value) if unit == FLOP else price(str(value))


def day(time: str) -> str:
    """`2026-11-23 20:07 UTC` of `2026-11-23T20:07:31.872728Z`."""
    return f"{time[:10]} {time[11:16]} UTC"


def worked(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of who can pay against `icl` the formula with its numbers, context cached, in the unit that decided."""
    told = report["break_even"] or {"methods": {}}
    unit = report["recommendation"]["unit"]
    build, question = ("build_flops", "question_flops") if unit == FLOP else ("build_price", "question_price")
    lines = []
    for name, entry in told["methods"].items():
        found = entry if unit == FLOP else entry["money"]
        numbers = [part[key] for key in (build, question) for part in (entry, told["icl"])]
        if found is None or None in numbers or report["methods"][name]["control"]:
            continue
        own, icl, own_each, icl_each = (f"{float(number):.6g}" for number in numbers)
        lines.append((name, f"({own} − {icl}) / ({icl_each} − {own_each}): {questions(found['warm'])}"))
    return lines


def _unbroken(html: str) -> str:
    """A number and its per cent sign stay on one line."""
    return re.sub(r"(?<=\d) %", "\u00a0%", html)


def _environment(escape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (si, duration, points, p, verdict, whole, tokens, questions, price, money_or_si, day)
    shown = {f.__name__: f for f in filters}
    environment.filters |= {**shown, "pct": plots.percent}
    return environment


def _template(name: str) -> str:
    return (resources.files("services.studies") / "templates" / name).read_text()
