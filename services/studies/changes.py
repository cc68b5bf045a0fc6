"""What would change a recommendation, in sentences. Pure."""

from collections.abc import Mapping, Sequence

from services.studies.costs import Economy, questions_until
from services.studies.figures import share
from services.studies.limits import Limits
from services.studies.statistics import Comparison

NEAR = 0.1  # a loss of accuracy that somebody may want to weigh against the price


def changes(
    chosen: str,
    equals: Sequence[str],
    candidates: Sequence[str],
    accuracies: Mapping[str, float],
    economy: Economy,
    comparisons: Sequence[Comparison],
    tolerance: float,
    limits: Limits,
) -> list[str]:
    """`equals`: those that are not out, cheapest first, `chosen` at the head."""
    told = [*_numbers(chosen, equals, economy)]
    best = max(equals, key=lambda id: accuracies[id])
    if best != chosen and accuracies[best] > accuracies[chosen]:
        told.append(
            f"If every point counts (tolerance 0) and more probes confirm the present means ({best} "
            f"{share(accuracies[best])}, {chosen} {share(accuracies[chosen])}): {best}."
        )
    worse = [c for c in comparisons if c.beyond and chosen in (c.candidate, c.baseline)]
    cheaper = [
        other
        for c in worse
        if (other := c.baseline if c.candidate == chosen else c.candidate) in candidates
        and economy.total(other) < economy.total(chosen)
        and other not in limits.broken
    ]
    other = max(cheaper, key=lambda id: accuracies[id], default=chosen)
    least = accuracies[chosen] - accuracies[other]
    if 0 < least <= NEAR:
        told.append(f"If {100 * least:.1f} points less accuracy are good enough: {other}, which is cheaper.")
    for words, broken in limits.without.items():
        allowed = [id for id in candidates if id not in broken]
        if chosen in allowed and set(allowed) != {id for id in candidates if id not in limits.broken}:
            first = cheapest_first(allowed, economy, comparisons)[0]
            if first != chosen:
                told.append(f"Without {words}: {first}.")
    if not told and least > NEAR:
        told.append(
            f"Little would: the best of the cheaper ones, {other}, is {100 * least:.1f} points worse."
        )
    return told


def _numbers(chosen: str, equals: Sequence[str], economy: Economy) -> list[str]:
    """Where another of the equals becomes the cheapest: the nearest numbers of questions below and above."""
    count = economy.question_count
    crossings = set()
    for other in equals:
        if other == chosen:
            continue
        build = economy.build[other] - economy.build[chosen]
        saving = economy.question[chosen] - economy.question[other]
        if (build > 0 and saving > 0 and (n := questions_until(build, saving))) or (
            build < 0 and saving < 0 and (n := questions_until(-build, -saving))
        ):
            crossings.add(n)
    told = []
    below = max((n for n in crossings if n <= count), default=None)
    above = min((n for n in crossings if n > count), default=None)
    if below is not None and below > 1:
        first = min(equals, key=lambda id: economy.total(id, below - 1))
        if first != chosen:
            told.append(f"With fewer than {below:,} questions: {first}.")
    if above is not None:
        first = min(equals, key=lambda id: economy.total(id, above + 1))
        if first != chosen:
            told.append(f"With more than {above:,} questions: {first}.")
    return told


def cheapest_first(
    allowed: Sequence[str],
    economy: Economy,
    comparisons: Sequence[Comparison],
    question_count: int | None = None,
) -> list[str]:
    """Those that no other allowed one is better than by more than the tolerance, by their total cost."""
    out = {
        c.candidate if c.value < 0 else c.baseline
        for c in comparisons
        if c.beyond and c.candidate in allowed and c.baseline in allowed
    }
    left = [id for id in allowed if id not in out]
    return sorted(left, key=lambda id: economy.total(id, question_count))
