"""`make check-statistics`: simulated studies with known truth through the real analysis and decision.

Writes docs/statistics.json and docs/statistics.md; exit status 1 where a rate misses its bound by more than twice its
Monte Carlo error.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from servicekit.clusters import share
from services.studies import analyse, report
from services.studies.findings import Findings
from tools.simulated_studies import KINDS, Scenario, draw_kind, probes_of, study_of
from tools.statistics_report import markdown

POOR, MIDDLE = (0.52, 0.48, 0.30, 0.30), (0.95, 0.50, 0.40, 0.35)
GOOD = (0.96, 0.90, 0.86, 0.80)  # 88 % over kinds
GOOD_OTHERWISE = (0.98, 0.92, 0.80, 0.82)  # 88 % too
MANY, FEW = 1_000_000, 10_000  # questions: training pays from some 450,000 on
RULE = ("right", "adequate", "false_better")
COVERAGE = ("share", "list", "mean", "comparison", "difference")
# Bounds of what is measured over all scenarios that the probes suffice for.
RIGHT, FALSE_BETTER, COVERED = 0.95, 0.05, (0.94, 0.96)


def shifted(truth: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(p + by for p in truth)


def four(icl: tuple[float, ...], augmented: tuple[float, ...]) -> dict[str, tuple[float, ...]]:
    return {"base": POOR, "icl": icl, "finetune": MIDDLE, "augmented_finetune": augmented}


SCENARIOS = [
    Scenario("a clear winner", four(GOOD, shifted(GOOD, -0.2)), 24, (4, 4, 4, 2), FEW, "icl"),
    Scenario("two equal, few questions", four(GOOD, GOOD_OTHERWISE), 44, (4, 4, 4, 1), FEW, "icl"),
    Scenario("two equal, many questions", four(GOOD, GOOD_OTHERWISE), 44, (4, 4, 4, 1), MANY, "augmented_finetune"),
    Scenario(
        "cheaper and worse by 1.5 points, within the tolerance of 2",
        four(GOOD, shifted(GOOD_OTHERWISE, -0.015)), 44, (4, 4, 4, 1), MANY, "augmented_finetune",
    ),
    Scenario(
        "cheaper and worse by 12 points, outside the tolerance",
        four(GOOD, shifted(GOOD_OTHERWISE, -0.12)), 44, (4, 4, 4, 1), MANY, "icl",
    ),
    Scenario("all equal", dict.fromkeys(("base", "icl", "finetune", "augmented_finetune"), MIDDLE), 30, (4, 4, 4, 1), FEW, "base"),
    Scenario("few probes, a kind of them not counted", four(GOOD, GOOD), 9, (3, 3, 3, 1), FEW, "icl"),
    Scenario(
        "cheaper and worse by 5 points: more than these probes can show",
        four(GOOD, shifted(GOOD_OTHERWISE, -0.05)), 20, (4, 4, 4, 1), MANY, "icl", powered=False,
    ),
]  # fmt: skip


def count(scenario: Scenario, found: Findings) -> Counter[str]:
    """What one study got right and wrong; keys ending in `_of` count the tries, where they are not one a study."""
    counts: Counter[str] = Counter()
    decision, truth = found.decision, {m: scenario.pooled(m, found.counted) for m in scenario.truth}
    best = max(truth.values())
    counts["right"] += decision.method == scenario.expected
    counts["adequate"] += truth[decision.method] >= best - scenario.tolerance - 1e-9
    claims = [c if c.value > 0 else c.turned() for c in found.comparisons if c.significant]
    counts["false_better"] += any(truth[c.candidate] <= truth[c.baseline] + 1e-9 for c in claims)
    for c in found.comparisons:
        counts["comparison_of"] += 1
        counts["comparison"] += c.low <= truth[c.candidate] - truth[c.baseline] <= c.high
    gap = next(c for c in found.comparisons if {c.candidate, c.baseline} == {"icl", "augmented_finetune"})
    counts["detectable_sum"] += gap.detectable
    for method, entry in found.methods.items():
        counts["mean_of"] += 1
        counts["mean"] += entry.accuracy.interval[0] <= truth[method] <= entry.accuracy.interval[1]
        for kind in entry.kinds:
            true = scenario.truth[method][KINDS.index(kind.kind)]
            which = "list" if kind.kind == "list" else "share"
            counts[f"{which}_of"] += 1
            counts[which] += kind.ci95_low <= true <= kind.ci95_high
    for earlier, later, difference in found.differences:
        if difference.kind in KINDS:
            at = KINDS.index(difference.kind)
            true = scenario.truth[later][at] - scenario.truth[earlier][at]
            counts["difference_of"] += 1
            counts["difference"] += difference.ci95_low <= true <= difference.ci95_high
    return counts


def run(scenario: Scenario, studies: int, seed: int) -> list[Counter[str]]:
    """Per study."""
    counts = []
    for number in range(studies):
        study, material = study_of(scenario, seed + number)
        found = analyse.findings(study, material)
        assert report.build(found)["recommendation"]["method"] == found.decision.method
        counts.append(count(scenario, found))
    return counts


def rate(counts: Sequence[Counter[str]], key: str) -> dict[str, float]:
    """With its Monte Carlo standard error; what is in one study belongs together."""
    hits = np.array([c[key] for c in counts], dtype=float)
    tries = np.array([c[f"{key}_of"] or (key in RULE) for c in counts], dtype=float)
    share = hits.sum() / tries.sum()
    # No event in n studies is no proof of none: at least the error that one event would have.
    error = max(float((hits - share * tries).std()) / tries.mean(), 1 / len(counts)) / len(counts) ** 0.5
    return {"rate": round(float(share), 4), "error": round(error, 4)}


def rates(counts: Sequence[Counter[str]], keys: Sequence[str]) -> dict[str, dict[str, float]]:
    return {key: rate(counts, key) for key in keys}


def coverage_grid(kinds: int) -> list[dict[str, Any]]:
    """Wilson's interval on the effective n: how often it holds the truth, by clusters, their size and what they share."""
    generator = np.random.default_rng(5)
    cells = []
    for clusters, size in ((6, 8), (10, 5), (10, 15), (20, 4), (20, 10), (44, 4), (100, 2)):
        for shared in (0.0, 0.05, 0.15, 0.3):
            held = []
            for truth in (0.3, 0.5, 0.8, 0.95):
                for number in range(kinds):
                    found = share(*draw_kind(generator, clusters, size, number % 2 == 1, truth, shared))
                    held.append(found.low <= truth <= found.high)
            cells.append(
                {
                    "clusters": clusters,
                    "size": size,
                    "shared": shared,
                    "kinds": len(held),
                    "rate": round(float(np.mean(held)), 4),
                }
            )
    return cells


def missed(result: dict[str, Any]) -> list[str]:
    """What lies outside its bounds by more than twice the Monte Carlo error."""
    found = []
    for scenario in result["scenarios"]:
        if scenario["powered"] and scenario["right"]["rate"] + 2 * scenario["right"]["error"] < RIGHT:
            found.append(f"{scenario['title']}: right in {scenario['right']['rate']:.1%}")
        if scenario["false_better"]["rate"] - 2 * scenario["false_better"]["error"] > FALSE_BETTER:
            found.append(f"{scenario['title']}: a false better in {scenario['false_better']['rate']:.1%}")
    overall = result["overall"]
    if overall["right"]["rate"] < RIGHT:
        found.append(f"right in {overall['right']['rate']:.1%}")
    if overall["false_better"]["rate"] - 2 * overall["false_better"]["error"] > FALSE_BETTER:
        found.append(f"a false better in {overall['false_better']['rate']:.1%}")
    for key in COVERAGE:
        rate, error = overall[key]["rate"], overall[key]["error"]
        if not COVERED[0] - 2 * error <= rate <= COVERED[1] + 2 * error:
            found.append(f"{key}: intervals cover {rate:.1%}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200, help="per scenario")
    parser.add_argument("--into", type=Path, default=Path("docs"))
    options = parser.parse_args()
    started = time.process_time()
    scenarios, powered, every = [], [], []
    for index, scenario in enumerate(SCENARIOS):
        counts = run(scenario, options.studies, 100_000 * (index + 1))
        every += counts
        powered += counts if scenario.powered else []
        entry = {
            "title": scenario.title,
            "powered": scenario.powered,
            "worlds": scenario.worlds,
            "probes": Counter(probe["kind"] for probe in probes_of(scenario)),
            "truth": {method: round(sum(truth) / len(truth), 4) for method, truth in scenario.truth.items()},
            "question_count": scenario.question_count,
            "expected": scenario.expected,
            "detectable": round(sum(c["detectable_sum"] for c in counts) / len(counts), 4),
            **rates(counts, (*RULE, *COVERAGE)),
        }
        scenarios.append(entry)
        print(f"{scenario.title}: right in {entry['right']['rate']:.1%}", flush=True)
    result: dict[str, Any] = {
        "studies_per_scenario": options.studies,
        "tolerance": SCENARIOS[0].tolerance,
        "scenarios": scenarios,
        "overall": {**rates(powered, ("right", "adequate")), **rates(every, ("false_better", *COVERAGE))},
        "shares_by_clusters": coverage_grid(options.studies),
    }
    result["missed"] = missed(result)
    result["cpu_seconds"] = round(time.process_time() - started)
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "statistics.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.into / "statistics.md").write_text(markdown(result))
    print(markdown(result))
    sys.exit("missed: " + "; ".join(result["missed"]) if result["missed"] else 0)


if __name__ == "__main__":
    main()
