"""Which method to use. Pure.

Best is the method with the highest accuracy, pooled over kinds. A cheaper one wins where it is not worse than the
best by more than the tolerance: its interval's lower end says so, or the probes cannot tell the two apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.studies.costs import MethodCost, questions_until, total_flops
from services.studies.plan import CONTROLS
from services.studies.statistics import Interval

TITLES = {
    "base": "the model as it is",
    "icl": "the documents in the context",
    "finetune": "fine-tuning on the documents",
    "augmented_finetune": "fine-tuning on the documents and on what the model infers from them",
    "shuffled_finetune": "fine-tuning with augmentations that say nothing true (a control)",
}


@dataclass(frozen=True)
class Decision:
    """`method` to use; `best` by accuracy; `equals` are the methods that the tolerance allows, cheapest first."""

    method: str
    best: str
    decisive: bool
    reason: str
    equals: list[str]


def decide(
    accuracies: Mapping[str, float],
    costs: Mapping[str, MethodCost],
    difference: Callable[[str, str], Interval],
    question_count: int,
    tolerance: float,
) -> Decision:
    """`accuracies`: pooled, by method. `difference(a, b)`: a minus b, pooled, with its interval."""
    price = {method: total_flops(costs[method], question_count) for method in accuracies}
    usable = [method for method in accuracies if method not in CONTROLS] or list(accuracies)
    ranked = sorted(usable, key=lambda method: (-accuracies[method], price[method]))
    best = ranked[0]
    to_best = {method: difference(method, best) for method in ranked[1:]}
    equals = [best, *(m for m in ranked[1:] if _not_worse(to_best[m], tolerance))]
    equals.sort(key=lambda method: price[method])
    chosen = equals[0]
    decisive = len(ranked) == 1 or to_best[ranked[1]].significant
    reason = _reason(chosen, ranked, accuracies, costs, to_best, question_count, tolerance, decisive)
    return Decision(chosen, best, decisive, reason, equals)


def _not_worse(to_best: Interval, tolerance: float) -> bool:
    return to_best.low > -tolerance or not to_best.significant


def _reason(
    chosen: str,
    ranked: list[str],
    accuracies: Mapping[str, float],
    costs: Mapping[str, MethodCost],
    to_best: Mapping[str, Interval],
    question_count: int,
    tolerance: float,
    decisive: bool,
) -> str:
    best = ranked[0]
    words = [
        f"Use {chosen} ({TITLES[chosen]}): it answers {accuracies[chosen]:.1%} of the probes right, averaged over kinds."
    ]
    if chosen != best:
        gap = to_best[chosen]
        within = gap.low > -tolerance
        allowed = (
            f"within the tolerance of {_points(tolerance)}"
            if within
            else "too little for these probes to tell"
        )
        words.append(
            f"The best, {best}, reaches {accuracies[best]:.1%}; {chosen} differs from it by {_gap(gap)}, {allowed}, and is cheaper."
        )
    elif len(ranked) > 1:
        words.append(
            f"The next, {ranked[1]}, reaches {accuracies[ranked[1]]:.1%} (difference {_gap(to_best[ranked[1]])})."
        )
    if len(ranked) > 1:
        words.append(_prices(chosen, best if chosen != best else ranked[1], costs, question_count))
    if not decisive:
        words.append(
            f"The probes cannot tell {best} from {ranked[1]}: more probes, or more independent groups of documents, would make this firmer."
        )
    return " ".join(words)


def _prices(chosen: str, other: str, costs: Mapping[str, MethodCost], question_count: int) -> str:
    """Both totals, and from how many questions on the one beats the other."""
    ours, theirs = costs[chosen], costs[other]
    text = (
        f"Building it and asking {question_count:,} questions takes {total_flops(ours, question_count):.2e} "
        f"floating-point operations, {other} {total_flops(theirs, question_count):.2e}"
    )
    build = ours.build.flops - theirs.build.flops
    question = ours.question.flops - theirs.question.flops
    if build > 0 > question:
        return f"{text}; {chosen} is the cheaper of the two from {questions_until(build, -question):,} questions on."
    if build < 0 < question:
        return f"{text}; from {questions_until(-build, question):,} questions on {other} would be the cheaper of the two."
    return text + "."


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _gap(gap: Interval) -> str:
    return f"{100 * gap.value:+.1f} points, 95 % interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
