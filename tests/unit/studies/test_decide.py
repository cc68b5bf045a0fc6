from services.studies.costs import Amount, MethodCost
from services.studies.decide import Decision, decide
from services.studies.statistics import Interval

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
    costs = {m: MethodCost(Amount(flops=COSTS[m][0]), Amount(flops=COSTS[m][1])) for m in accuracies}

    def difference(a: str, b: str) -> Interval:
        value = accuracies[a] - accuracies[b]
        return Interval(value, value - half_width, value + half_width)

    return decide(accuracies, costs, difference, questions, tolerance)


CLEAR = {"base": 0.4, "icl": 0.9, "finetune": 0.6, "augmented_finetune": 0.895}


def test_within_the_tolerance_the_cheaper_wins_for_few_questions() -> None:
    found = decided(CLEAR, half_width=0.01)
    assert (found.method, found.best, found.equals) == ("icl", "icl", ["icl", "augmented_finetune"])


def test_and_the_other_for_many() -> None:
    found = decided(CLEAR, half_width=0.01, questions=100_000)
    assert found.method == "augmented_finetune"
    assert found.best == "icl"
    assert "within the tolerance" in found.reason
    assert "from 39,967 questions on" in found.reason  # 1,199,000 / 30


def test_a_clearly_worse_method_never_wins_by_price() -> None:
    found = decided({"base": 0.4, "icl": 0.9}, half_width=0.05)
    assert (found.method, found.decisive) == ("icl", True)


def test_worse_than_the_tolerance_for_sure_is_not_good_enough() -> None:
    found = decided({"icl": 0.9, "augmented_finetune": 0.86}, half_width=0.01, questions=10**9)
    assert (found.method, found.decisive) == ("icl", True)


def test_where_probes_cannot_tell_the_cheapest_wins_and_it_says_so() -> None:
    found = decided({"icl": 0.9, "augmented_finetune": 0.8}, half_width=0.2, questions=10**6)
    assert (found.method, found.best, found.decisive) == ("augmented_finetune", "icl", False)
    assert "cannot tell" in found.reason


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
