"""The report's two drawings as inline SVG, from the report alone. Pure.

Written by hand rather than by a plotting library: text stays text (to be searched, read aloud and scaled), and the
same report always gives the same bytes.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

# Okabe and Ito's palette: distinct also for people who see colours differently; dashes and labels repeat it.
COLOURS = {
    "base": "#6b6b6b",
    "icl": "#0072b2",
    "icl_subset": "#56b4e9",
    "icl_retrieved": "#3a5f8a",
    "rag": "#7a4fa3",
    "finetune": "#d55e00",
    "augmented_finetune": "#009e73",
    "augmented_finetune_local": "#5f9e00",
    "augmented_finetune_global": "#00788c",
    "finetune_icl": "#a34a00",
    "augmented_finetune_icl": "#00573f",
    "shuffled_finetune": "#cc79a7",
}
WIDTH = 760
INK, MUTED, GRID = "#1a1a1a", "#595959", "#dcdcdc"
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def accuracy_plot(report: Mapping[str, Any]) -> str:
    """A row per kind and method: the accuracy as a dot, its 95 % interval as a line, chance as a dashed line."""
    methods: Mapping[str, Any] = report["methods"]
    kinds = list(dict.fromkeys(kind for method in methods.values() for kind in method["kinds"]))
    left, right, row, header = 230, 600, 20, 30
    parts: list[str] = []

    def x(share: float) -> float:
        return left + share * (right - left)

    y = 24.0
    for kind in kinds:
        shown = [(name, method["kinds"][kind]) for name, method in methods.items() if kind in method["kinds"]]
        first = shown[0][1]
        parts.append(_text(8, y + 18, kind, weight="bold"))
        parts.append(
            _text(left + 4, y + 18, f"{_metric(first['metric'])}, n = {first['n']:,}", fill=MUTED, size=12)
        )
        y += header
        bottom = y + row * len(shown)
        for share in (0, 0.25, 0.5, 0.75, 1):
            parts.append(_line(x(share), y - 4, x(share), bottom, GRID))
        if first.get("chance") is not None:
            parts.append(_line(x(first["chance"]), y - 4, x(first["chance"]), bottom, INK, dash="3 3"))
        for name, result in shown:
            middle = y + row / 2
            low, high = result["ci95"]
            colour = _colour(name)
            parts.append(_text(left - 10, middle + 4, name, anchor="end", size=12.5))
            parts.append(_line(x(low), middle, x(high), middle, colour, width=3))
            parts.append(
                f'<circle cx="{x(result["accuracy"]):.1f}" cy="{middle:.1f}" r="5" fill="{colour}"/>'
            )
            label = f"{percent(result['accuracy'])} ({percent(low, '')}–{percent(high, '')})"
            parts.append(_text(right + 14, middle + 4, label, size=12.5))
            y += row
        y += 8
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_text(x(share), y + 14, f"{100 * share:.0f} %", anchor="middle", fill=MUTED, size=12))
    parts.append(_line(left, y + 32, left + 28, y + 32, INK, dash="3 3"))
    parts.append(_text(left + 36, y + 36, "guessing", fill=MUTED, size=12))
    parts.append(_line(left + 120, y + 32, left + 148, y + 32, INK, width=3))
    parts.append(_text(left + 156, y + 36, "95 % interval", fill=MUTED, size=12))
    best = "; ".join(
        f"{kind}: "
        + ", ".join(
            f"{m} {percent(r['kinds'][kind]['accuracy'])}" for m, r in methods.items() if kind in r["kinds"]
        )
        for kind in kinds
    )
    return _svg(y + 48, "Accuracy by kind and method", best, parts)


def cost_plot(report: Mapping[str, Any]) -> str:
    """Total cost against the number of questions, both logarithmic, break-evens marked; in the unit that decided."""
    curves = _curves(report)
    marks = _marks(report)
    questions = report["inputs"]["question_count"]
    last = max([questions, 10_000, *(n for _, n, _ in marks)])
    decades_x = math.ceil(math.log10(last)) + 1
    values = [total(n) for _, total, _, _ in curves for n in (1, 10**decades_x)]
    low = math.floor(math.log10(min((v for v in values if v > 0), default=1)))
    high = max(low + 1, math.ceil(math.log10(max([v for v in values if v > 0], default=10))))
    left, right, top = 74, 560, 30 + 20 * len(marks)
    bottom = top + 340

    def x(n: float) -> float:
        return left + math.log10(max(n, 1)) / decades_x * (right - left)

    def y(cost: float) -> float:
        return bottom - (math.log10(max(cost, 10.0**low)) - low) / (high - low) * (bottom - top)

    parts = []
    for decade in range(decades_x + 1):
        parts.append(_line(x(10**decade), top, x(10**decade), bottom, GRID))
        parts.append(
            _text(x(10**decade), bottom + 18, _count(10**decade), anchor="middle", fill=MUTED, size=12)
        )
    for decade in range(low, high + 1):
        parts.append(_line(left, y(10.0**decade), right, y(10.0**decade), GRID))
        label = f"10{str(decade).translate(SUPERSCRIPTS)}"
        parts.append(_text(left - 8, y(10.0**decade) + 4, label, anchor="end", fill=MUTED, size=12))
    parts.append(_text((left + right) / 2, bottom + 40, "questions asked", anchor="middle", size=13))
    middle = (top + bottom) / 2
    unit = report["recommendation"]["unit"]
    axis = "floating-point operations in all" if unit == "FLOP" else f"{unit} in all"
    parts.append(
        f'<text x="18" y="{middle}" font-size="13" text-anchor="middle" fill="{INK}" transform="rotate(-90 18 {middle})">{escape(axis)}</text>'
    )
    parts.append(_line(x(questions), top, x(questions), bottom, INK, dash="1 4", width=1.5))
    parts.append(
        _text(x(questions), bottom + 58, f"asked for: {questions:,}", anchor="middle", fill=MUTED, size=12)
    )
    for _, total, colour, dash in curves:
        steps = [10 ** (decades_x * i / 80) for i in range(81)]
        points = " ".join(f"{x(n):.1f},{y(total(n)):.1f}" for n in steps if total(n) > 0)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"{_dash(dash)}/>'
        )
    ends = [y(total(10**decades_x)) for _, total, _, _ in curves]
    for (name, _, colour, dash), at in zip(curves, _apart(ends, 18, top, bottom), strict=True):
        parts.append(_line(right + 6, at, right + 28, at, colour, width=3, dash=dash))
        parts.append(_text(right + 34, at + 4, name, size=12.5))
    icl = next((total for name, total, _, _ in curves if name.startswith("icl")), None)
    for i, (name, n, colour) in enumerate(marks):
        level = 22 + 20 * i
        assert icl is not None
        parts.append(_line(x(n), level + 6, x(n), bottom, colour, dash="5 3", width=1.2))
        parts.append(
            f'<circle cx="{x(n):.1f}" cy="{y(icl(n)):.1f}" r="5" fill="white" stroke="{colour}" stroke-width="2.5"/>'
        )
        anchor = "start" if x(n) < (left + right) / 2 else "end"
        shift = 5 if anchor == "start" else -5
        parts.append(
            _text(x(n) + shift, level, f"{name} pays from {n:,} questions on", anchor=anchor, size=12.5)
        )
    told = "; ".join(f"{name} is no dearer than icl from {n:,} questions on" for name, n, _ in marks)
    return _svg(
        bottom + 70, "Total cost against the number of questions", told or "no break-even with icl", parts
    )


def percent(share: float, sign: str = " %") -> str:
    """`97 %`; one decimal where it tells the value from 0 or 100."""
    value = 100 * share
    rounded = f"{value:.0f}"
    return (
        f"{value:.1f}{sign}"
        if rounded in ("0", "100") and abs(value - float(rounded)) >= 0.05
        else f"{rounded}{sign}"
    )


def _curves(report: Mapping[str, Any]) -> list[tuple[str, Any, str, str]]:
    """(label, total(N), colour, dash) per line; `icl` also as if nothing were cached."""

    def line(build: float, question: float) -> Any:
        return lambda n: build + n * question

    priced = report["recommendation"]["unit"] != "FLOP"
    curves = []
    for name, method in report["methods"].items():
        cost, colour = method["cost"], _colour(name)
        build, question, cold = _money(cost) if priced else _flops(cost)
        if question is None:  # another server answers, and there is no price
            continue
        curves.append((f"{name}, cached" if cold is not None else name, line(build, question), colour, ""))
        if cold is not None:
            curves.append((f"{name}, not cached", line(0.0, cold), colour, "6 4"))
    return curves


def _flops(cost: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    """Of building, of a question, of one that nothing is cached for."""
    cold = cost["question_cold"]
    question = None if cost["total_flops"] is None else cost["question"]["flops"]
    return cost["build"]["flops"], question, cold["flops"] if cold else None


def _money(cost: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    warm, cold = cost["thousand_questions_price"], cost["thousand_questions_cold_price"]
    return (
        float(cost["build_price"] or 0),
        None if warm is None else float(warm) / 1000,
        None if cold is None else float(cold) / 1000,
    )


def _marks(report: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Break-evens against cached `icl` that lie on the plot; controls and what is cheaper at once have none."""
    methods = (report.get("break_even") or {}).get("methods", {})
    priced = report["recommendation"]["unit"] != "FLOP"
    pays = {name: (entry["money"] if priced else entry) or {"warm": None} for name, entry in methods.items()}
    return [
        (name, entry["warm"], _colour(name))
        for name, entry in pays.items()
        if entry["warm"] and not report["methods"][name]["control"] and "@" not in name
    ]


def _colour(name: str) -> str:
    """Of a contender's method that of the method, for its name stands beside it."""
    return COLOURS.get(name.partition("@")[0], INK)


def _apart(positions: Sequence[float], distance: float, top: float, bottom: float) -> list[float]:
    """The positions moved as little as it takes for labels not to overlap, in their order."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [0.0] * len(positions)
    at = top - distance
    for i in order:
        at = placed[i] = max(positions[i], at + distance)
    limit = bottom
    for i in reversed(order):
        limit = placed[i] = min(placed[i], limit)
        limit -= distance
    return placed


def _metric(name: str) -> str:
    words = {"acc": "share right", "exact_match": "share word for word", "f1": "F1 of the listed names"}
    return words.get(name, name)


def _count(n: int) -> str:
    for size, letter in ((10**9, " bn"), (10**6, " M"), (10**3, ",000")):
        if n >= size:
            return f"{n // size}{letter}"
    return str(n)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{_dash(dash)}/>'


def _dash(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str = INK,
    size: float = 14,
    weight: str = "normal",
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _svg(height: float, title: str, description: str, parts: Sequence[str]) -> str:
    name = title.lower().replace(" ", "-")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        + "\n".join(parts)
        + "</svg>"
    )
