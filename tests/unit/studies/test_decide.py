from itertools import combinations

from services.studies.costs import Amount, MethodCost
from services.studies.decide import Decision, decide, usable
from services.studies.statistics import Comparison

# To build, and per question.
COSTS = {
    "base": (0, 100),
    "icl": (1_000, 130),
    "finetune": (1_000_000, 100),
    "augmented_finetune": (1_200_000, 100),
    "shuffled_finetune": (1_200_000, 100),
}


def decided(
    accuracies: dict[str, float], half_width: float, questions: int = 10_000, tolerance: float = 0.02
) -> Decision:
    """With intervals of that half width, and p-values that are 0 or 1 as the intervals say."""
    costs = {m: MethodCost(Amount(flops=COSTS[m][0]), Amount(flops=COSTS[m][1])) for m in accuracies}
    comparisons = []
    for earlier, later in combinations(usable(list(accuracies)), 2):
        gap = accuracies[later] - accuracies[earlier]
        p, p_margin = float(abs(gap) <= half_width), float(abs(gap) - half_width <= tolerance)
        ends = gap - half_width, gap + half_width
        comparisons.append(Comparison(later, earlier, gap, *ends, p, p_margin, 1.43 * half_width, 100, 20))
    return decide(accuracies, costs, comparisons, questions, tolerance)


CLEAR = {"base": 0.4, "icl": 0.9, "finetune": 0.6, "augmented_finetune": 0.895}


def test_within_the_tolerance_the_cheaper_wins_for_few_questions() -> None:
    found = decided(CLEAR, half_width=0.01)
    assert (found.method, found.best, found.equals) == ("icl", "icl", ["icl", "augmented_finetune"])


def test_and_the_other_for_many() -> None:
    found = decided(CLEAR, half_width=0.01, questions=100_000)
    assert (found.method, found.best, found.adequate) == ("augmented_finetune", "icl", True)
    assert "within the tolerance of 2.0 points" in found.reason
    assert "from 39,967 questions on" in found.reason  # 1,199,000 / 30


def test_a_clearly_worse_method_never_wins_by_price() -> None:
    found = decided({"base": 0.4, "icl": 0.9}, half_width=0.05)
    assert (found.method, found.decisive) == ("icl", True)


def test_worse_than_the_tolerance_for_sure_is_not_good_enough() -> None:
    found = decided({"icl": 0.9, "augmented_finetune": 0.86}, half_width=0.01, questions=10**9)
    assert (found.method, found.decisive) == ("icl", True)


def test_a_difference_that_may_be_within_the_tolerance_does_not_rule_out_and_it_says_so() -> None:
    found = decided({"icl": 0.9, "augmented_finetune": 0.86}, half_width=0.03, questions=10**9)
    assert (found.method, found.decisive, found.adequate) == ("augmented_finetune", True, False)
    assert "not shown to be more than the tolerance" in found.reason


def test_where_probes_cannot_tell_the_cheapest_wins_and_it_says_what_they_could_show() -> None:
    found = decided({"icl": 0.9, "augmented_finetune": 0.8}, half_width=0.2, questions=10**6)
    assert (found.method, found.best, found.decisive) == ("augmented_finetune", "icl", False)
    assert (found.adequate, "too little for these probes to tell" in found.reason) == (False, True)
    assert "cannot tell icl from augmented_finetune" in found.reason
    assert "a difference of 28.6 points four times in five" in found.reason


def test_without_any_significant_difference_the_cheapest_of_all_wins() -> None:
    found = decided(CLEAR, half_width=0.6)
    assert (found.method, found.equals[0]) == ("base", "base")
    assert "cannot tell no method" not in found.reason
    assert "cannot tell any method from another" in found.reason


def test_what_is_worse_than_another_that_is_not_the_best_is_out_too() -> None:
    accuracies = {"base": 0.7, "icl": 0.8, "finetune": 0.81}
    costs = {m: MethodCost(Amount(flops=COSTS[m][0]), Amount(flops=COSTS[m][1])) for m in accuracies}
    pairs = [("icl", "base", 0.1, 0.001), ("finetune", "base", 0.11, 0.2), ("finetune", "icl", 0.01, 0.9)]
    comparisons = [Comparison(c, b, v, v - 0.1, v + 0.1, p, p, 0.1, 100, 20) for c, b, v, p in pairs]
    found = decide(accuracies, costs, comparisons, 10, 0.02)
    assert (found.method, found.best, found.equals) == ("icl", "finetune", ["icl", "finetune"])


def test_a_tie_goes_to_the_cheaper() -> None:
    found = decided({"icl": 0.9, "augmented_finetune": 0.9}, half_width=0.0, questions=10)
    assert (found.method, found.best, found.decisive) == ("icl", "icl", False)


def test_a_control_is_never_recommended() -> None:
    found = decided({"finetune": 0.5, "shuffled_finetune": 0.99}, half_width=0.01)
    assert found.method == "finetune"


def test_a_single_method() -> None:
    found = decided({"icl": 0.7}, half_width=0.0)
    assert (found.method, found.decisive) == ("icl", True)
    assert "70.0%" in found.reason
