"""Which method to use. Pure.

A method is out where another is better by more than the tolerance, beyond doubt; controls are out always. Of the
others the cheapest wins. Why: docs/decisions/0004-what-the-probes-can-tell.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.studies.costs import MethodCost, questions_until, total_flops
from services.studies.plan import CONTROLS
from services.studies.statistics import Comparison

TITLES = {
    "base": "the model as it is",
    "icl": "the documents in the context",
    "finetune": "fine-tuning on the documents",
    "augmented_finetune": "fine-tuning on the documents and on what the model infers from them",
    "shuffled_finetune": "fine-tuning with augmentations that say nothing true (a control)",
}


@dataclass(frozen=True)
class Decision:
    """`method` to use; `best` by accuracy; `equals` are the methods that are not out, cheapest first.

    `decisive`: the best is shown to be better than the next. `adequate`: the method is shown to be within the
    tolerance of the best, rather than only not shown to be outside.
    """

    method: str
    best: str
    decisive: bool
    adequate: bool
    reason: str
    equals: list[str]


def usable(methods: Sequence[str]) -> list[str]:
    """Those that somebody would use; all where there is nothing but controls."""
    return [method for method in methods if method not in CONTROLS] or list(methods)


def decide(
    accuracies: Mapping[str, float],
    costs: Mapping[str, MethodCost],
    comparisons: Sequence[Comparison],
    question_count: int,
    tolerance: float,
) -> Decision:
    """`accuracies`: pooled, by method, in the same kinds as the comparisons, which are all pairs of usable methods."""
    price = {method: total_flops(costs[method], question_count) for method in accuracies}
    ranked = sorted(usable(list(accuracies)), key=lambda method: (-accuracies[method], price[method]))
    out = {c.candidate if c.value < 0 else c.baseline for c in comparisons if c.beyond}
    equals = sorted((m for m in ranked if m not in out), key=lambda method: price[method])
    best, chosen = ranked[0], equals[0]
    between = {(c.candidate, c.baseline): c for c in [*comparisons, *(c.turned() for c in comparisons)]}
    to_best = {method: between[method, best] for method in ranked[1:]}
    decisive = len(ranked) == 1 or to_best[ranked[1]].significant
    adequate = chosen == best or to_best[chosen].low > -tolerance
    words = [
        f"Use {chosen} ({TITLES[chosen]}): it answers {accuracies[chosen]:.1%} of the probes right, averaged over kinds."
    ]
    if chosen != best:
        words.append(
            f"The best, {best}, reaches {accuracies[best]:.1%}; {chosen} differs from it by {_gap(to_best[chosen])}, "
            f"{_standing(to_best[chosen], adequate, tolerance)}, and is cheaper."
        )
    elif len(ranked) > 1:
        words.append(
            f"The next, {ranked[1]}, reaches {accuracies[ranked[1]]:.1%} (difference {_gap(to_best[ranked[1]])})."
        )
    if len(ranked) > 1:
        words.append(_prices(chosen, best if chosen != best else ranked[1], costs, question_count))
    if not decisive:
        words.append(_doubt(best, ranked[1], to_best[ranked[1]], comparisons))
    return Decision(chosen, best, decisive, adequate, " ".join(words), equals)


def _standing(to_best: Comparison, adequate: bool, tolerance: float) -> str:
    if adequate:
        return f"within the tolerance of {_points(tolerance)}"
    if to_best.significant:
        return f"a difference, but not shown to be more than the tolerance of {_points(tolerance)}"
    return "too little for these probes to tell"


def _doubt(best: str, next: str, gap: Comparison, comparisons: Sequence[Comparison]) -> str:
    nothing = not any(c.significant for c in comparisons)
    told = "any method from another" if nothing and len(comparisons) > 1 else f"{best} from {next}"
    return (
        f"The probes cannot tell {told}: between {best} and {next} they would show a difference of "
        f"{_points(gap.detectable)} four times in five, and smaller ones less often. More probes, or more independent "
        "groups of documents, would make this firmer."
    )


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


def _gap(gap: Comparison) -> str:
    return f"{100 * gap.value:+.1f} points, 95 % interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}"
