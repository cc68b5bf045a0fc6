from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import common_pb2, trainer_pb2
from services.studies.costs import (
    FLOP,
    Amount,
    Line,
    MethodCost,
    amount,
    break_even,
    cold,
    cost_message,
    economies,
    questions_until,
    reading,
)

MODEL = trainer_pb2.Model(parameter_count=1000, layer_count=2, hidden_size=10)


def cost(
    build: float, question: float, cold: float | None = None, prices: tuple[str, ...] = ()
) -> MethodCost:
    """`prices`: of building, of a question, of a cold one."""
    made, asked, again = (*map(Decimal, prices), None, None, None)[:3]
    return MethodCost(
        (Line("training", Amount(flops=build), made),),
        Line("question", Amount(flops=question), asked),
        None if cold is None else Line("question", Amount(flops=cold), again),
    )


def test_break_even_by_hand() -> None:
    assert questions_until(1000, 10) == 100
    assert questions_until(1001, 10) == 101
    assert questions_until(0, 10) == 0
    assert questions_until(-5, 0) == 0
    assert questions_until(1000, 0) is None
    assert questions_until(1000, -1) is None
    assert questions_until(-1000, -1) is None


@given(st.floats(0, 1e15), st.floats(0, 1e12), st.floats(1e-3, 1e9), st.floats(0, 1e9))
def test_break_even_is_the_first_number_that_pays(
    build_a: float, build_b: float, question_a: float, question_b: float
) -> None:
    n = questions_until(build_a - build_b, question_b - question_a)
    if n is None:
        assert build_a > build_b or question_a > question_b
        return
    slack = 1e-9 * (build_a + n * question_a + 1)
    assert build_a + n * question_a <= build_b + n * question_b + slack
    if n > 1:
        assert build_a + (n - 2) * question_a > build_b + (n - 2) * question_b - slack


def test_against_icl_warm_and_cold() -> None:
    (economy,) = economies({"finetune": cost(10_000, 20), "icl": cost(100, 30, cold=120)}, 10, "")
    found = break_even("finetune", economy)
    assert (found.warm, found.cold) == (990, 100)


def test_never_where_a_cached_question_costs_no_more() -> None:
    (economy,) = economies({"finetune": cost(10_000, 30), "icl": cost(100, 30, cold=120)}, 10, "")
    found = break_even("finetune", economy)
    assert (found.warm, found.cold) == (None, 112)


def test_money_decides_where_everything_has_a_price() -> None:
    costs = {
        "finetune": cost(10_000, 20, prices=("2.50", "0.0001")),
        "icl": cost(100, 30, cold=120, prices=("0", "0.0011", "0.01")),
    }
    by_money, by_flops = economies(costs, 1000, "EUR")
    assert (by_money.unit, by_flops.unit) == ("EUR", FLOP)
    assert by_money.total("finetune") == pytest.approx(2.6)
    assert (break_even("finetune", by_money).warm, break_even("finetune", by_money).cold) == (2500, 253)
    costs["base"] = cost(0, 20)
    assert [economy.unit for economy in economies(costs, 1000, "EUR")] == [FLOP]


def test_what_another_server_answers_has_no_operations_and_never_pays() -> None:
    far = MethodCost((), Line("question", Amount(prompt_token_count=900)), elsewhere=True)
    costs = {"icl": cost(100, 30, cold=120), "icl@large": far}
    (economy,) = economies(costs, 1000, "EUR")
    assert economy.total("icl@large") == float("inf")
    assert economy.total("icl@large", 0) == 0
    assert break_even("icl@large", economy).warm is None
    (both,) = economies({"icl": far, "icl@large": far}, 1000, "")
    assert break_even("icl@large", both).warm is None


def test_a_cold_question_reads_its_own_context() -> None:
    asked = Amount(
        prompt_token_count=10, cached_token_count=100, flops=2000, compute_seconds=0.5, wall_seconds=0.75
    )
    # 2 * 1000 * L + 4 * 2 * 10 * L * (L + 1) / 2
    read = {"a": reading(MODEL, 10), "b": reading(MODEL, 20)}
    assert read["a"].flops == pytest.approx(20_000 + 80 * 55)
    found = cold(asked, read, ["a", "a", "a", "b"])
    assert found.flops == pytest.approx(2000 + (3 * (20_000 + 80 * 55) + 40_000 + 80 * 210) / 4)
    assert found.prompt_token_count == pytest.approx(10 + 12.5)
    assert (found.cached_token_count, found.compute_seconds) == (0, 0)


def test_seconds_of_a_cold_question_are_known_where_reading_was_measured() -> None:
    asked = Amount(flops=2000, compute_seconds=0.5)
    found = cold(asked, {"b": Amount(flops=5.0, compute_seconds=0.25)}, ["b"])
    assert (found.flops, found.compute_seconds) == (2005, 0.75)


def test_the_cache_hit_rate() -> None:
    assert Amount(prompt_token_count=25, cached_token_count=75).cache_hit_rate == 0.75
    assert Amount().cache_hit_rate is None


def test_amounts_add_and_become_protos() -> None:
    measured = amount(common_pb2.Cost(prompt_token_count=3, flops=2.5, wall_seconds=1.0))
    doubled = measured + measured
    assert (doubled.prompt_token_count, doubled.flops, doubled.wall_seconds) == (6, 5.0, 2.0)
    assert cost_message(doubled.times(0.25)) == common_pb2.Cost(
        prompt_token_count=2, flops=1.25, wall_seconds=0.5
    )
    assert economies({"a": cost(100, 7)}, 10, "")[0].total("a") == 170
