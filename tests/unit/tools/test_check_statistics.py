"""The simulation itself: true shares, clusters, pairing; and what counts as missed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from services.studies import analyse
from tools.check_statistics import SCENARIOS, count, missed, rate
from tools.simulated_studies import KINDS, Scenario, draw, draw_kind, probes_of, study_of

TRUTH = {"base": (0.3, 0.3, 0.3, 0.3), "icl": (0.9, 0.8, 0.7, 0.6)}
WIDE = Scenario("wide", TRUTH, worlds=400, sizes=(4, 4, 4, 2), question_count=10_000, expected="icl")


def test_answers_have_the_true_shares_and_worlds_and_probes_in_common() -> None:
    probes = probes_of(WIDE)
    assert len({probe["id"] for probe in probes}) == len(probes)
    results = draw(WIDE, probes, seed=1)
    for method, truth in TRUTH.items():
        for kind, share in zip(KINDS, truth, strict=True):
            values = [row["value"] for row in results[method] if row["kind"] == kind]
            assert np.mean(values) == pytest.approx(share, abs=0.04)
    base, icl = ([row["value"] for row in results[method] if row["metric"] == "acc"] for method in TRUTH)
    assert np.corrcoef(base, icl)[0, 1] > 0.1
    by_world = np.array([row["value"] for row in results["base"] if row["kind"] == "forward"])
    sizes = Counter(row["cluster"] for row in results["base"] if row["kind"] == "forward")
    assert set(sizes.values()) == {3, 5}
    means = [part.mean() for part in np.split(by_world, np.cumsum(list(sizes.values()))[:-1])]
    assert np.var(means) > 1.15 * np.mean([0.21 / size for size in sizes.values()])


def test_a_cluster_shares_what_it_is_told_to() -> None:
    generator = np.random.default_rng(0)
    apart, _ = draw_kind(generator, 400, 5, False, 0.5, shared=0.0)
    together, clusters = draw_kind(generator, 400, 5, False, 0.5, shared=0.6)
    assert len(set(clusters)) == 400
    assert np.var(together.reshape(400, 5).mean(1)) > 2 * np.var(apart.reshape(400, 5).mean(1))


def test_a_study_of_many_probes_is_decided_rightly_and_counted_so() -> None:
    clear = SCENARIOS[0]
    counts = count(clear, analyse.findings(*study_of(clear, 1)))
    assert (counts["right"], counts["adequate"], counts["false_better"]) == (1, 1, 0)
    assert (counts["mean_of"], counts["comparison_of"], counts["share_of"], counts["list_of"]) == (
        4,
        6,
        12,
        4,
    )
    other = replace(clear, expected="base", truth={**clear.truth, "icl": (0.0,) * 4})
    assert count(other, analyse.findings(*study_of(clear, 1)))["false_better"] == 1


def test_expected_methods_follow_from_truth_and_tolerance() -> None:
    prices = {"base": 0, "icl": 1, "finetune": 2, "augmented_finetune": 3}
    for scenario in SCENARIOS:
        truth = {method: scenario.pooled(method, KINDS) for method in scenario.truth}
        adequate = [m for m, p in truth.items() if p >= max(truth.values()) - scenario.tolerance - 1e-9]
        if scenario.question_count > 450_000:
            prices["icl"] = 4
        assert scenario.expected == min(adequate, key=lambda method: prices[method])
        prices["icl"] = 1


def test_rates_have_their_monte_carlo_error() -> None:
    counts = [Counter(right=int(i < 90)) for i in range(100)]
    assert rate(counts, "right") == {"rate": 0.9, "error": 0.03}
    in_studies = [Counter(share=4 * (i % 2), share_of=4) for i in range(100)]
    assert rate(in_studies, "share") == {"rate": 0.5, "error": 0.05}  # a study's four stand or fall together
    assert rate([Counter(right=1)] * 100, "right")["error"] == 0.001


def test_what_is_outside_its_bound_is_named() -> None:
    good, bad = {"rate": 0.951, "error": 0.005}, {"rate": 0.9, "error": 0.01}
    low = {"rate": 0.03, "error": 0.005}
    overall = dict.fromkeys(("right", "share", "list", "mean", "comparison", "difference"), good)
    scenario = {"title": "s", "powered": True, "right": good, "false_better": low}
    fine = {"scenarios": [scenario], "overall": {**overall, "false_better": low}}
    assert missed(fine) == []
    fine["scenarios"].append({"title": "weak", "powered": False, "right": bad, "false_better": low})
    assert missed(fine) == []
    worse = {
        "scenarios": [{**scenario, "right": bad, "false_better": bad}],
        "overall": {**overall, "mean": bad, "false_better": bad},
    }
    assert missed(worse) == [
        "s: right in 90.0%",
        "s: a false better in 90.0%",
        "a false better in 90.0%",
        "mean: intervals cover 90.0%",
    ]
