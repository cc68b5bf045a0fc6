from itertools import combinations

from services.studies.costs import FLOP, Economy
from services.studies.decide import Decision, decide, usable
from services.studies.limits import Limits
from services.studies.methods import METHODS
from services.studies.statistics import Comparison

# To build, and per question.
COSTS = {
    "base": (0, 100),
    "icl": (1_000, 130),
    "finetune": (1_000_000, 100),
    "augmented_finetune": (1_200_000, 100),
    "shuffled_finetune": (1_200_000, 100),
}


TITLES = {name: method.title for name, method in METHODS.items()}
NO_LIMITS = Limits()


def economy(names: object, questions: int, unit: str = FLOP) -> Economy:
    build = {name: float(COSTS[name][0]) for name in names}
    return Economy(unit, build, {name: float(COSTS[name][1]) for name in names}, {}, questions)


def decided(
    accuracies: dict[str, float],
    half_width: float,
    questions: int = 10_000,
    tolerance: float = 0.02,
    limits: Limits = NO_LIMITS,
) -> Decision:
    """With intervals of that half width, and p-values that are 0 or 1 as the intervals say."""
    comparisons = []
    for earlier, later in combinations(usable(list(accuracies)), 2):
        gap = accuracies[later] - accuracies[earlier]
        p, p_margin = float(abs(gap) <= half_width), float(abs(gap) - half_width <= tolerance)
        ends = gap - half_width, gap + half_width
        comparisons.append(Comparison(later, earlier, gap, *ends, p, p_margin, 1.43 * half_width, 100, 20))
    return decide(accuracies, TITLES, economy(accuracies, questions), comparisons, tolerance, limits)


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
    pairs = [("icl", "base", 0.1, 0.001), ("finetune", "base", 0.11, 0.2), ("finetune", "icl", 0.01, 0.9)]
    comparisons = [Comparison(c, b, v, v - 0.1, v + 0.1, p, p, 0.1, 100, 20) for c, b, v, p in pairs]
    found = decide(accuracies, TITLES, economy(accuracies, 10), comparisons, 0.02, NO_LIMITS)
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
    assert "70.0 %" in found.reason


def test_what_would_change_it_numbers_of_questions() -> None:
    few = decided(CLEAR, half_width=0.01)
    assert "With more than 39,967 questions: augmented_finetune." in few.changes
    many = decided(CLEAR, half_width=0.01, questions=100_000)
    assert "With fewer than 39,967 questions: icl." in many.changes
    assert any(
        change.startswith("If every point counts") and change.endswith("icl.") for change in many.changes
    )


def test_what_would_change_it_less_accuracy() -> None:
    found = decided({"base": 0.85, "icl": 0.9}, half_width=0.005)
    assert found.changes == ["If 5.0 points less accuracy are good enough: base, which is cheaper."]


def test_where_little_would_change_it_that_is_said() -> None:
    found = decided({"base": 0.4, "icl": 0.9}, half_width=0.005)
    assert found.changes == ["Little would: the best of the cheaper ones, base, is 50.0 points worse."]


def test_who_breaks_a_limit_is_left_out_and_it_says_so() -> None:
    slow = {"icl": "5 of 100 answers take 2 s or longer"}
    found = decided(CLEAR, half_width=0.01, limits=Limits(slow, {"the limit of 1 s": {}}))
    assert (found.method, found.best) == ("augmented_finetune", "augmented_finetune")
    assert "icl is left out: 5 of 100 answers" in found.reason
    assert "Without the limit of 1 s: icl." in found.changes


def test_where_nobody_keeps_to_the_limits_nobody_is_recommended() -> None:
    broken = dict.fromkeys(CLEAR, "too dear")
    found = decided(CLEAR, half_width=0.01, limits=Limits(broken, {}))
    assert (found.method, found.best, found.equals) == ("", "icl", [])
    assert found.reason.startswith("No method keeps to the limits")


def test_what_has_no_price_is_never_the_cheapest() -> None:
    accuracies = {"icl": 0.9, "icl@large": 0.9}
    costs = Economy(FLOP, {"icl": 1e9, "icl@large": 0}, {"icl": 10.0, "icl@large": float("inf")}, {}, 10)
    titles = dict.fromkeys(accuracies, "documents in the context")
    same = Comparison("icl@large", "icl", 0.0, -0.01, 0.01, 1.0, 1.0, 0.02, 100, 20)
    found = decide(accuracies, titles, costs, [same], 0.02, NO_LIMITS)
    assert found.method == "icl"
    assert "icl@large an amount that has no price" in found.reason
