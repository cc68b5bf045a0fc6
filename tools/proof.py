"""What is told of a proof: a result file without a word of the documents, and a page. Pure, but for the machine's facts."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from ingrain.units import duration
from ingrain.v1 import common_pb2, datasets_pb2
from tools.preflight import Preflight

SCHEMA = "ingrain.proof/1"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:1.5rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse;width:100%;margin:.8rem 0}th,td{text-align:right;padding:.25rem .4rem;border-bottom:1px solid #ddd}"
    "table{font-size:.8125rem}td{white-space:nowrap}.wide{overflow-x:auto}th:first-child{text-align:left}td small{color:#595959}caption{text-align:left;color:#595959}.answer{border-left:6px solid #0072b2;background:#f2f7fb;"
    "padding:.6rem 1rem}.small{color:#595959;font-size:.875rem}@media print{body{margin:0;font-size:10pt}td{white-space:normal}}"
)


def proof(
    report: Mapping[str, Any],
    checked: Preflight,
    estimate: common_pb2.Estimate,
    took_s: float,
    probes: datasets_pb2.Dataset,
) -> dict[str, Any]:
    inputs, recommendation = report["inputs"], report["recommendation"]
    model = inputs["model"]
    return {
        "schema": SCHEMA,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "environment": report["environment"],
        "model": {
            key: model[key]
            for key in (
                "title",
                "source",
                "sha256",
                "architecture",
                "parameter_count",
                "context_window",
                "domain",
            )
        },
        "preflight": checked.to_dict(),
        "documents": {
            "sha256": inputs["documents"]["sha256"],
            "row_count": inputs["documents"]["row_count"],
            "context_token_count": inputs["context_token_count"]["total"],
        },
        "probes": {
            "sha256": probes.sha256,
            "row_count": probes.row_count,
            "made_by": probes.labels.get("made_by", "the user"),
            "trust": probes.labels.get("trust", "brought by the user"),
        },
        "recommendation": {
            key: recommendation[key]
            for key in ("method", "title", "reason", "decisive", "adequate", "confidence", "changes", "unit")
        },
        "methods": {name: _method(entry) for name, entry in report["methods"].items()},
        "retention": report["retention"],
        "break_even": report["break_even"],
        "estimate": MessageToDict(estimate, preserving_proto_field_name=True),
        "measured": {
            "wall_seconds": round(took_s, 1),
            "compute_seconds": sum(step["cost"]["compute_seconds"] for step in report["steps"]),
        },
        "prices": report["prices"],
        "notes": report["notes"],
    }


def _method(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": entry["title"],
        "accuracy": entry["accuracy"],
        "ci95": entry["ci95"],
        "kinds": {
            kind: {key: found[key] for key in ("metric", "accuracy", "ci95", "n", "counted", "chance")}
            for kind, found in entry["kinds"].items()
        },
        "build": entry["cost"]["build"],
        "question": entry["cost"]["question"],
        "build_price": entry["cost"]["build_price"],
        "thousand_questions_price": entry["cost"]["thousand_questions_price"],
        "latency": entry["latency"],
        "seeds": [one["seed"] for one in entry["seeds"]],
    }


def machine() -> dict[str, Any]:
    """What can be told of it without naming it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


def _rows(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    kinds = list(dict.fromkeys(kind for entry in found["methods"].values() for kind in entry["kinds"]))
    rows = []
    for name, entry in found["methods"].items():
        cells = [_share(entry["kinds"].get(kind)) for kind in kinds]
        rows.append([name, *cells, _share(entry), *_prices(entry, found["prices"]), _seconds(entry)])
    prices = ["to make", "1,000 questions"] if found["prices"] else []
    return [*kinds, "mean of kinds", *prices, "answers within"], rows


def _share(one: Mapping[str, Any] | None) -> str:
    return "" if one is None else f"{one['accuracy']:.2f} ({one['ci95'][0]:.2f} to {one['ci95'][1]:.2f})"


def _prices(entry: Mapping[str, Any], table: Mapping[str, Any] | None) -> list[str]:
    """Nothing where no prices are set; empty where one is not known."""
    if not table:
        return []
    amounts = (entry["build_price"], entry["thousand_questions_price"])
    return ["" if one is None else f"{float(one):.2g} {table['currency_code']}" for one in amounts]


def _seconds(entry: Mapping[str, Any]) -> str:
    return f"{entry['latency']['p95_seconds']:.2g} s" if entry["latency"] else ""


def _facts(found: Mapping[str, Any]) -> list[str]:
    """The small print, a sentence or two each."""
    model, documents, probes = found["model"], found["documents"], found["probes"]
    name = model["title"] or model["source"] or model["architecture"]
    lines = [
        f"Model: {name}, {model['architecture']}, {model['parameter_count']:,} parameters, sha256 {model['sha256'][:12]}.",
        f"Documents: {documents['row_count']:,}, {found['preflight']['token_count']:,} tokens "
        f"({found['preflight']['tokens_per_word']:.1f} for a word), sha256 {documents['sha256'][:12]}.",
        f"Probes: {probes['trust']}."
        if probes["made_by"] != "the user"
        else f"Probes: {probes['row_count']:,}, brought by the user.",
        f"Of 100 sets of probes like this one, {100 * found['recommendation']['confidence']:.0f} would lead to the same method.",
    ]
    lines += [f"Would change it: {change}" for change in found["recommendation"]["changes"]]
    lines += _pays(found)
    kept = {row["weights"]: row["bits_per_byte"] for row in found["retention"] if row["bits_per_byte"]}
    if len(kept) > 1:
        told = ", ".join(f"{weights} {bits:.3f}" for weights, bits in kept.items())
        lines.append(f"General text, bits per byte (less is better): {told}.")
    where, estimated = found["machine"], found["estimate"].get("cost", {}).get("compute_seconds", 0.0)
    measured = found["measured"]
    lines.append(
        f"It took {duration(measured['wall_seconds'])}; its steps took {duration(measured['compute_seconds'])} of the processor "
        f"({duration(estimated)} were estimated), on {where['processor']}, {where['cores']} cores, {where['memory_gib']:g} GiB; commit {found['commit'][:12]}."
    )
    return lines


def _pays(found: Mapping[str, Any]) -> list[str]:
    """From how many questions on training costs no more than the documents in the context; a sentence, or none."""
    methods = (found["break_even"] or {"methods": {}})["methods"]
    money = found["recommendation"]["unit"] != "FLOP"
    told = {
        name: (entry["money"] if money else entry)["warm"]
        for name, entry in methods.items()
        if "finetune" in name and "shuffled" not in name
    }
    if not told:
        return []
    each = ", ".join(f"{name} {'never' if n is None else f'from {n:,} on'}" for name, n in told.items())
    return [f"Questions from which on it costs no more than icl with its context cached: {each}."]


def verdict_markdown(found: Mapping[str, Any]) -> str:
    titles, rows = _rows(found)
    recommendation = found["recommendation"]
    lines = [
        f"# {recommendation['method'] or 'No method'}",
        "",
        recommendation["reason"],
        "",
        f"| | {' | '.join(titles)} |",
        "| --- " + "| ---: " * len(titles) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(f"- {fact}" for fact in _facts(found)),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """An interval stands under its share, in little room."""
    share, _, interval = text.partition(" (")
    if not interval:
        return f"<td>{escape(text)}</td>"
    return f"<td>{escape(share)}<br><small>{escape(interval.rstrip(')').replace(' to ', '–'))}</small></td>"


def verdict_html(found: Mapping[str, Any]) -> str:
    """One page, self-contained."""
    titles, rows = _rows(found)
    recommendation = found["recommendation"]
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_cell, cells))}</tr>' for name, *cells in rows
    )
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in _facts(found))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{escape(recommendation["method"] or "No method")}'
        f"</title><style>{_STYLE}</style></head><body><h1>How to get these documents into this model</h1>"
        f'<div class="answer"><p><strong>{escape(recommendation["method"] or "No method")}</strong>: '
        f'{escape(recommendation["reason"])}</p></div><div class="wide"><table><caption>Share right, 95 % interval; how long 95 of 100 answers take '
        f'at most</caption><thead><tr><th scope="col">method</th>{head}</tr></thead><tbody>{body}</tbody></table></div><ul class="small">{facts}</ul>'
        f'<p class="small">{escape(found["time"])}</p></body></html>'
    )
