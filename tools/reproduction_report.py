"""Pooled answers -> intervals, findings, docs/reproduction.md and the README's drawing. Pure, except for `write`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servicekit.clusters import RESAMPLES, clustered_mean

PAIRS = (
    ("icl", "base"),
    ("augmented_finetune", "icl"),
    ("augmented_finetune", "finetune"),
    ("shuffled_finetune", "finetune"),
)
Answers = dict[tuple[int, str, str], float]  # (seed, world, probe id) -> value
Shares = dict[str, dict[str, dict[str, float]]]  # method or difference -> kind -> summary


def pooled(methods: Mapping[str, Mapping[str, Answers]]) -> dict[str, Shares]:
    """`methods`: method -> kind -> answers."""
    differences = {}
    for better, worse in PAIRS:
        if better in methods and worse in methods:
            differences[f"{better} - {worse}"] = {
                kind: summary(
                    {key: value - methods[worse][kind][key] for key, value in answers.items()}, least=-1.0
                )
                for kind, answers in methods[better].items()
            }
    shares = {
        method: {kind: summary(answers) for kind, answers in kinds.items()}
        for method, kinds in methods.items()
    }
    return {"methods": shares, "differences": differences}


def summary(answers: Answers, least: float = 0.0) -> dict[str, float]:
    """Mean and interval, resampling whole worlds (seed and world together). `least`: what an answer can be."""
    worlds = [f"{seed} {world}" for seed, world, _ in answers]
    mean = clustered_mean(list(answers.values()), worlds, least=least)
    low, high = mean.interval
    return {
        "value": mean.value,
        "ci95_low": low,
        "ci95_high": high,
        "n": mean.n,
        "clusters": mean.cluster_count,
    }


def findings(table: Mapping[str, Shares]) -> list[tuple[str, str, bool]]:
    """What the default variant must show: claim, measured, whether it holds."""
    shares, differences = table["methods"], table["differences"]
    forward = shares["finetune"]["forward"]
    reversal = shares["finetune"]["reversal"]
    icl = shares["icl"]["reversal"]
    behind = differences["augmented_finetune - icl"]["reversal"]
    ahead = differences["augmented_finetune - finetune"]["syllogism"]
    shuffled = differences["shuffled_finetune - finetune"]["reversal"]
    return [
        ("finetune recalls the trained direction, at least 0.95", shown(forward), forward["value"] >= 0.95),
        (
            "finetune on reversals: upper end at most 0.60",
            shown(reversal),
            reversal["ci95_high"] <= 0.60,
        ),
        ("icl on reversals: above 0.75", shown(icl), icl["value"] > 0.75),
        (
            "augmented_finetune - icl on reversals: lower end above -0.05",
            shown(behind),
            behind["ci95_low"] > -0.05,
        ),
        ("augmented_finetune - finetune on syllogisms: above 0", shown(ahead), ahead["ci95_low"] > 0),
        (
            "shuffled augmentation - finetune on reversals: does not help",
            shown(shuffled),
            shuffled["ci95_low"] <= 0,
        ),
    ]


def shown(summary: Mapping[str, float]) -> str:
    interval = f"{summary['ci95_low']:.3f} to {summary['ci95_high']:.3f}"
    return f"{summary['value']:.3f} ({interval}), n {summary['n']:.0f}"


def markdown(result: Mapping[str, Any]) -> str:
    lines = [
        "# Reproduction on invented worlds",
        "",
        f"Written by `make reproduce`: seeds {', '.join(map(str, result['seeds']))}, {result['minutes']} minutes, commit",
        f"{result['commit'][:12]}. The bundled model was pretrained for worlds like these (other names, other seeds); the",
        "result on real text needs a real checkpoint. Share right, with 95 % intervals (bootstrap over worlds,",
        f"{RESAMPLES:,} resamples) and the number of probes. A world has {result['facts']} facts, as many as the model",
        "reads well; each world is its own context.",
        "",
        "| finding | measured | holds |",
        "| --- | --- | --- |",
        *(
            f"| {claim} | {measured} | {'yes' if holds else 'NO'} |"
            for claim, measured, holds in result["findings"]
        ),
    ]
    for variant, table in result["variants"].items():
        for title, rows in (("", table["methods"]), (": differences, paired by probe", table["differences"])):
            if rows:
                lines += ["", f"## {variant}{title}", "", *grid(rows)]
    return "\n".join(lines) + "\n"


def grid(rows: Shares) -> list[str]:
    kinds = list(dict.fromkeys(kind for by_kind in rows.values() for kind in by_kind))
    lines = ["| | " + " | ".join(kinds) + " |", "| --- " * (len(kinds) + 1) + "|"]
    for name, by_kind in rows.items():
        lines.append(
            f"| {name} | " + " | ".join(shown(by_kind[k]) if k in by_kind else "" for k in kinds) + " |"
        )
    return lines


def drawing(shares: Shares, chance: Mapping[str, float]) -> str:
    """The accuracy plot of the study's report, over the pooled seeds, to stand alone on any background."""
    from services.studies.plots import accuracy_plot

    shown_kinds = ("forward", "reversal", "syllogism")
    plot = accuracy_plot(
        {
            "methods": {
                method: {
                    "kinds": {
                        kind: {
                            "accuracy": by_kind[kind]["value"],
                            "ci95": [by_kind[kind]["ci95_low"], by_kind[kind]["ci95_high"]],
                            "n": by_kind[kind]["n"],
                            "metric": "acc",
                            "chance": chance[kind],
                        }
                        for kind in shown_kinds
                    }
                }
                for method, by_kind in shares.items()
            }
        }
    )
    return plot.replace("<svg ", '<svg style="background:#fff;font-family:system-ui,sans-serif" ', 1)


def write(result: dict[str, Any], chance: Mapping[str, float], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reproduction.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "reproduction.md").write_text(markdown(result))
    (folder / "demo.svg").write_text(drawing(result["variants"]["default"]["methods"], chance))
