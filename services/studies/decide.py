"""Which method to use. Pure.

A method is out where it does not keep to the limits, or where another that does is better by more than the tolerance,
beyond doubt; controls are out always. Of the others the cheapest wins. Why: docs/decisions/0004-what-the-probes-can-tell.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.studies.changes import changes, cheapest_first
from services.studies.costs import FLOP, Economy, questions_until
from services.studies.figures import points, share, si
from services.studies.limits import Limits
from services.studies.methods import METHODS
from services.studies.statistics import Comparison


@dataclass(frozen=True)
class Decision:
    """`method` to use, empty where none keeps to the limits; `best` by accuracy of those that do (else of all);
    `equals` are the methods that are not out, cheapest first.

    `decisive`: the best is shown to be better than the next. `adequate`: the method is shown to be within the
    tolerance of the best, rather than only not shown to be outside. `changes`: what would change it.
    """

    method: str
    best: str
    decisive: bool
    adequate: bool
    reason: str
    equals: list[str]
    changes: list[str]


def method_of(id: str) -> str:
    """`icl` of `icl@large`."""
    return id.partition("@")[0]


def is_control(id: str) -> bool:
    return METHODS[method_of(id)].control


def usable(ids: Sequence[str]) -> list[str]:
    """Those that somebody would use; all where there is nothing but controls."""
    return [id for id in ids if not is_control(id)] or list(ids)


def decide(
    accuracies: Mapping[str, float],
    titles: Mapping[str, str],
    economy: Economy,
    comparisons: Sequence[Comparison],
    tolerance: float,
    limits: Limits,
) -> Decision:
    """`accuracies`: pooled, by id, in the same kinds as the comparisons, which are all pairs of usable ones."""
    candidates = usable(list(accuracies))
    allowed = [id for id in candidates if id not in limits.broken]
    if not allowed:
        return _nobody(candidates, accuracies, economy, limits)
    ranked = sorted(allowed, key=lambda id: (-accuracies[id], economy.total(id)))
    equals = cheapest_first(allowed, economy, comparisons)
    best, chosen = ranked[0], equals[0]
    between = {(c.candidate, c.baseline): c for c in [*comparisons, *(c.turned() for c in comparisons)]}
    to_best = {id: between[id, best] for id in ranked[1:]}
    decisive = len(ranked) == 1 or to_best[ranked[1]].significant
    adequate = chosen == best or to_best[chosen].low > -tolerance
    words = [
        f"Use {chosen} ({titles[chosen]}): it answers {share(accuracies[chosen])} of the probes right, averaged over kinds."
    ]
    if chosen != best:
        words.append(
            f"The best, {best}, reaches {share(accuracies[best])}; {chosen} differs from it by {_gap(to_best[chosen])}, "
            f"{_standing(to_best[chosen], adequate, tolerance)}, and is cheaper."
        )
    elif len(ranked) > 1:
        words.append(
            f"The next, {ranked[1]}, reaches {share(accuracies[ranked[1]])} (difference {_gap(to_best[ranked[1]])})."
        )
    if len(ranked) > 1:
        words.append(_prices(chosen, best if chosen != best else ranked[1], economy))
    if not decisive:
        words.append(_doubt(best, ranked[1], to_best[ranked[1]], comparisons))
    words += [f"{id} is left out: {why}." for id, why in limits.broken.items() if id in candidates]
    told = changes(chosen, equals, candidates, accuracies, economy, comparisons, tolerance, limits)
    return Decision(chosen, best, decisive, adequate, " ".join(words), equals, told)


def _nobody(
    candidates: Sequence[str], accuracies: Mapping[str, float], economy: Economy, limits: Limits
) -> Decision:
    best = max(candidates, key=lambda id: (accuracies[id], -economy.total(id)))
    told = "; ".join(f"{id}: {limits.broken[id]}" for id in candidates)
    reason = f"No method keeps to the limits ({told}). By accuracy alone the best is {best} with {share(accuracies[best])}."
    return Decision("", best, False, False, reason, [], [f"Relaxing the limits would: {told}."])


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


def _prices(chosen: str, other: str, economy: Economy) -> str:
    """Both totals, and from how many questions on the one beats the other."""
    count = economy.question_count
    text = (
        f"Building it and asking {count:,} questions takes {amount(economy.total(chosen), economy.unit)}, "
        f"{other} {amount(economy.total(other), economy.unit)}"
    )
    build = economy.build[chosen] - economy.build[other]
    question = economy.question[chosen] - economy.question[other]
    if build > 0 > question:
        pays = questions_until(build, -question)
        return f"{text}; {chosen} is the cheaper of the two from {pays:,} questions on."
    if build < 0 < question:
        return f"{text}; from {questions_until(-build, question):,} questions on {other} would be the cheaper of the two."
    return text + "."


def amount(value: float, unit: str) -> str:
    """For a sentence: `1.20 TFLOP`, `3.40 EUR`, or that it is not known."""
    if value == float("inf"):
        return "an amount that has no price"
    if unit == FLOP:
        return si(value)
    return f"{value:,.2f} {unit}" if value >= 0.1 else f"{value:.2g} {unit}"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _gap(gap: Comparison) -> str:
    return f"{points(gap.value)} points, 95 % interval {points(gap.low)} to {points(gap.high)}"
