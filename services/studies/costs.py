"""What a method takes to build, what a question takes, and from how many questions on it pays. Pure.

Amounts come from what was measured. One price is reckoned: re-reading a context that no cache holds any more.
Floating-point operations are the common measure, because they depend neither on the machine nor on its load.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.costs import forward_flops

FORMULA = (
    "N = ceil((build of the method - build of icl) / (question of icl - question of the method)), in "
    "floating-point operations"
)


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


@dataclass(frozen=True)
class MethodCost:
    """`cold_question`: for `icl` only, when nothing of the context is cached and every question reads it all."""

    build: Amount
    question: Amount
    cold_question: Amount | None = None


@dataclass(frozen=True)
class BreakEven:
    """Questions from which on the method is no dearer than `icl`; None: never."""

    warm: int | None
    cold: int | None


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


def reading(model: trainer_pb2.Model, token_count: int) -> Amount:
    """Of reading so many tokens that no cache holds, reckoned from the model's shape."""
    flops = forward_flops(model.parameter_count, model.layer_count, model.hidden_size, token_count)
    return Amount(prompt_token_count=token_count, flops=flops)


def icl_cost(
    model: trainer_pb2.Model,
    asked: Amount,
    probe_count: int,
    contexts: Mapping[str, int],
    groups: Sequence[str],
    measured: Mapping[str, Amount],
) -> MethodCost:
    """`asked`: sum over all probes, contexts read before. `contexts`: tokens by group. `groups`: of each probe.
    `measured`: what reading a group's context took, where that is known; elsewhere it is reckoned.

    Build reads every context once. A warm question reads itself and looks at the context; a cold one reads its
    group's context as well.
    """
    read = {group: measured.get(group) or reading(model, tokens) for group, tokens in contexts.items()}
    question = asked.times(1 / probe_count)
    cold = question + total(read[group] for group in groups).times(1 / len(groups))
    # Everything is read, and nobody measured how long that takes.
    cold = replace(cold, cached_token_count=0.0, compute_seconds=0.0, wall_seconds=0.0)
    return MethodCost(total(read.values()), question, cold)


def break_even(method: MethodCost, icl: MethodCost) -> BreakEven:
    """Against `icl` with its context cached (warm), and with the context read again for each question (cold)."""
    assert icl.cold_question is not None
    build = method.build.flops - icl.build.flops
    # Without a cache there is nothing to build: the context is paid for with each question.
    return BreakEven(
        warm=questions_until(build, icl.question.flops - method.question.flops),
        cold=questions_until(method.build.flops, icl.cold_question.flops - method.question.flops),
    )


def questions_until(build_difference: float, question_saving: float) -> int | None:
    """Least N >= 0 with build_difference <= N * question_saving; None where there is none."""
    if build_difference <= 0 <= question_saving:
        return 0
    if question_saving <= 0:
        return None
    return max(0, math.ceil(build_difference / question_saving))


def total_flops(cost: MethodCost, question_count: int) -> float:
    """Of building and then asking so many questions, contexts cached where the method has any."""
    return cost.build.flops + question_count * cost.question.flops
