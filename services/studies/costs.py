"""What a method takes to build, what a question takes, and from how many questions on it pays. Pure.

Amounts come from what was measured. One is reckoned: re-reading a context that no cache holds any more.
Floating-point operations are the common measure where there are no prices, because they depend neither on the
machine nor on its load.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.costs import forward_flops

FLOP = "FLOP"
FORMULA = "N = ceil((build of the method - build of icl) / (question of icl - question of the method))"


@dataclass(frozen=True)
class Amount:
    """Like the proto's Cost, in fractions, so that it can be an average."""

    prompt_token_count: float = 0.0
    cached_token_count: float = 0.0
    generated_token_count: float = 0.0
    trained_token_count: float = 0.0
    flops: float = 0.0
    wall_seconds: float = 0.0
    compute_seconds: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def times(self, factor: float) -> "Amount":
        return Amount(*(getattr(self, f.name) * factor for f in fields(self)))

    @property
    def cache_hit_rate(self) -> float | None:
        """Share of the tokens in context and prompt whose keys and values were there already."""
        read = self.prompt_token_count + self.cached_token_count
        return self.cached_token_count / read if read else None


@dataclass(frozen=True)
class Line:
    """A line of the bill. `price`: None where there is none for it."""

    what: str
    amount: Amount
    price: Decimal | None = None


@dataclass(frozen=True)
class MethodCost:
    """`bill`: what is paid before the first question. `cold_question`: where documents are in the context, when nothing
    of it is cached and every question reads it all. `elsewhere`: another server answers, so that its FLOPs are not known.
    """

    bill: tuple[Line, ...]
    question: Line
    cold_question: Line | None = None
    elsewhere: bool = False

    @property
    def build(self) -> Amount:
        return total(line.amount for line in self.bill)

    @property
    def build_price(self) -> Decimal | None:
        prices = [line.price for line in self.bill]
        return None if None in prices else sum((p for p in prices if p is not None), Decimal(0))


@dataclass(frozen=True)
class Economy:
    """What methods cost in one unit: money where everything has a price, else floating-point operations.

    What another server answers for has no operations; without prices it is dearer than all that has.
    """

    unit: str
    build: Mapping[str, float]
    question: Mapping[str, float]
    cold: Mapping[str, float]  # of those that have a cold question
    question_count: int

    def total(self, name: str, question_count: int | None = None) -> float:
        """Of building and then asking so many questions, contexts cached where the method has any."""
        count = self.question_count if question_count is None else question_count
        return self.build[name] + (self.question[name] * count if count else 0.0)


@dataclass(frozen=True)
class BreakEven:
    """Questions from which on the method is no dearer than `icl`; None: never."""

    warm: int | None
    cold: int | None


def economies(costs: Mapping[str, MethodCost], question_count: int, currency: str) -> list[Economy]:
    """By floating-point operations; before that by money, where everything has a price."""
    far = {name: math.inf if cost.elsewhere else 0.0 for name, cost in costs.items()}
    by_flops = Economy(
        FLOP,
        {name: cost.build.flops for name, cost in costs.items()},
        {name: cost.question.amount.flops + far[name] for name, cost in costs.items()},
        {name: c.cold_question.amount.flops + far[name] for name, c in costs.items() if c.cold_question},
        question_count,
    )
    prices = [price for c in costs.values() for price in (c.build_price, c.question.price)]
    if not currency or None in prices:
        return [by_flops]
    by_money = Economy(
        currency,
        {name: float(cost.build_price or 0) for name, cost in costs.items()},
        {name: float(cost.question.price or 0) for name, cost in costs.items()},
        {
            name: float(c.cold_question.price)
            for name, c in costs.items()
            if c.cold_question and c.cold_question.price is not None
        },
        question_count,
    )
    return [by_money, by_flops]


def amount(cost: common_pb2.Cost) -> Amount:
    return Amount(*(float(getattr(cost, f.name)) for f in fields(Amount)))


def cost_message(value: Amount) -> common_pb2.Cost:
    """Token counts rounded to whole ones."""
    counts = {f.name: round(getattr(value, f.name)) for f in fields(value) if f.name.endswith("_count")}
    return common_pb2.Cost(
        **counts, flops=value.flops, wall_seconds=value.wall_seconds, compute_seconds=value.compute_seconds
    )


def total(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, Amount())


def mean(amounts: Sequence[Amount]) -> Amount:
    return total(amounts).times(1 / len(amounts))


def reading(model: trainer_pb2.Model, token_count: float) -> Amount:
    """Of reading so many tokens that no cache holds, reckoned from the model's shape."""
    flops = forward_flops(model.parameter_count, model.layer_count, model.hidden_size, round(token_count))
    return Amount(prompt_token_count=token_count, flops=flops)


def cold(question: Amount, read: Mapping[str, Amount], groups: Sequence[str]) -> Amount:
    """A question that reads its group's context as well. `read`: what that takes by group; `groups`: of each probe."""
    context = mean([read[group] for group in groups])
    found = question + context
    # Everything is read. How long that takes is known only where reading was measured.
    seconds = found.compute_seconds if all(one.compute_seconds for one in read.values()) else 0.0
    return replace(found, cached_token_count=0.0, compute_seconds=seconds, wall_seconds=0.0)


def break_even(name: str, economy: Economy, icl: str = "icl") -> BreakEven:
    """Against `icl` with its context cached (warm), and with the context read again for each question (cold)."""
    build, question = economy.build[name], economy.question[name]
    warm = questions_until(build - economy.build[icl], economy.question[icl] - question)
    # Without a cache there is nothing to build: the context is paid for with each question.
    again = questions_until(build, economy.cold[icl] - question) if icl in economy.cold else None
    return BreakEven(warm, again)


def questions_until(build_difference: float, question_saving: float) -> int | None:
    """Least N >= 0 with build_difference <= N * question_saving; None where there is none."""
    if math.isnan(question_saving):  # both are beyond reckoning
        return None
    if math.isinf(question_saving):
        return 1 if question_saving > 0 else None
    if build_difference <= 0 <= question_saving:
        return 0
    if question_saving <= 0:
        return None
    return max(0, math.ceil(build_difference / question_saving))
