import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import common_pb2, trainer_pb2
from services.studies.costs import (
    Amount,
    MethodCost,
    amount,
    break_even,
    cost_message,
    icl_cost,
    questions_until,
    total_flops,
)

MODEL = trainer_pb2.Model(parameter_count=1000, layer_count=2, hidden_size=10)


def cost(build: float, question: float, cold: float | None = None) -> MethodCost:
    return MethodCost(
        Amount(flops=build), Amount(flops=question), None if cold is None else Amount(flops=cold)
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
    found = break_even(cost(10_000, 20), cost(100, 30, cold=120))
    assert (found.warm, found.cold) == (990, 100)


def test_never_where_a_cached_question_costs_no_more() -> None:
    found = break_even(cost(10_000, 30), cost(100, 30, cold=120))
    assert (found.warm, found.cold) == (None, 112)


def test_icl_reads_each_context_once_and_cold_questions_read_their_own() -> None:
    asked = Amount(
        prompt_token_count=40, cached_token_count=400, flops=8000, compute_seconds=2, wall_seconds=3
    )
    found = icl_cost(MODEL, asked, 4, {"a": 10, "b": 20}, ["a", "a", "a", "b"], measured={})
    # 2 * 1000 * L + 4 * 2 * 10 * L * (L + 1) / 2
    read_a, read_b = 20_000 + 80 * 55, 40_000 + 80 * 210
    assert found.build.flops == pytest.approx(read_a + read_b)
    assert found.build.prompt_token_count == 30
    assert (found.question.flops, found.question.cached_token_count) == (2000, 100)
    assert found.cold_question is not None
    assert found.cold_question.flops == pytest.approx(2000 + (3 * read_a + read_b) / 4)
    assert found.cold_question.prompt_token_count == pytest.approx(10 + 12.5)
    assert (found.cold_question.cached_token_count, found.cold_question.compute_seconds) == (0, 0)


def test_reading_that_was_measured_is_not_reckoned() -> None:
    asked = Amount(flops=8000)
    measured = {"b": Amount(flops=5.0, compute_seconds=0.5)}
    found = icl_cost(MODEL, asked, 4, {"a": 10, "b": 20}, ["b"], measured)
    assert found.build.flops == pytest.approx(20_000 + 80 * 55 + 5)
    assert found.build.compute_seconds == 0.5
    assert found.cold_question is not None
    assert found.cold_question.flops == pytest.approx(2005)


def test_amounts_add_and_become_protos() -> None:
    measured = amount(common_pb2.Cost(prompt_token_count=3, flops=2.5, wall_seconds=1.0))
    doubled = measured + measured
    assert (doubled.prompt_token_count, doubled.flops, doubled.wall_seconds) == (6, 5.0, 2.0)
    assert cost_message(doubled.times(0.25)) == common_pb2.Cost(
        prompt_token_count=2, flops=1.25, wall_seconds=0.5
    )
    assert total_flops(cost(100, 7), 10) == 170
