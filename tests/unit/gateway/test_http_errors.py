"""Statuses -> OpenAI's errors, and several streams side by side."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from ingrain import errors as sdk
from servicekit import errors
from services.gateway.http.errors import problem_of
from services.gateway.http.events import side_by_side


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_status_has_an_answer(code: grpc.StatusCode) -> None:
    expected = {
        "INVALID_ARGUMENT": 400,
        "OUT_OF_RANGE": 400,
        "FAILED_PRECONDITION": 400,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "ABORTED": 409,
        "RESOURCE_EXHAUSTED": 429,
        "CANCELLED": 499,
        "UNIMPLEMENTED": 501,
        "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }.get(code.name, 500)
    problem = problem_of(sdk.IngrainError("it says", code=code, reason="SOME_REASON"))
    assert problem.status == problem.response().status == expected
    assert ("Retry-After" in problem.response().headers) == (expected == 503)
    assert set(problem.body()["error"]) == {"message", "type", "param", "code"}


def test_fields_of_a_backend_are_translated_and_our_own_are_not() -> None:
    violations = [sdk.FieldViolation("inputs[0]", "bad")]
    behind = sdk.Invalid("bad", reason="BAD", field_violations=violations)
    assert problem_of(behind, lambda field: f"their {field}").param == "their inputs[0]"
    own = errors.Invalid("BAD", "bad", field="prompt")
    assert problem_of(own, lambda field: f"their {field}").param == "prompt"


def test_when_to_come_again_is_rounded_up() -> None:
    busy = errors.Exhausted("FULL", "full", retry_after_s=2.1)
    assert problem_of(busy).response().headers["Retry-After"] == "3"


def test_where_waiting_does_not_help_nobody_is_told_to_wait() -> None:
    headers = problem_of(errors.Exhausted("NO_ROOM_TO_PIN", "full")).response().headers
    assert "Retry-After" not in headers
    assert headers["X-Should-Retry"] == "false"


def test_what_nobody_expected_says_nothing() -> None:
    problem = problem_of(RuntimeError("the key is 1234"))
    assert problem.status == 500
    assert "1234" not in str(problem.body())


def test_what_is_missing_is_the_model_or_the_context() -> None:
    def missing(resource: str) -> tuple[str | None, str | None]:
        problem = problem_of(sdk.NotFound("no", reason="RESOURCE_NOT_FOUND", metadata={"resource": resource}))
        return problem.param, problem.code

    assert missing("projects/p/datasets/d") == ("model", "model_not_found")
    assert missing("projects/p/contexts/c") == ("context", "context_not_found")


async def numbers(first: int, count: int, ended: list[int], fails: bool = False) -> AsyncIterator[int]:
    try:
        for number in range(first, first + count):
            await asyncio.sleep(0)
            yield number
        if fails:
            raise ValueError("in the middle")
    finally:
        ended.append(first)


async def test_streams_side_by_side_come_whole_and_in_order() -> None:
    ended: list[int] = []
    found: dict[int, list[int]] = {}
    async for stream, item in side_by_side(
        [numbers(0, 5, ended), numbers(10, 1, ended), numbers(20, 0, ended)]
    ):
        found.setdefault(stream, []).append(item)
    assert found == {0: [0, 1, 2, 3, 4], 1: [10]}
    assert sorted(ended) == [0, 10, 20]


async def test_the_first_error_ends_all() -> None:
    ended: list[int] = []
    with pytest.raises(ValueError, match="in the middle"):
        async for _ in side_by_side([numbers(0, 10**9, ended), numbers(10, 1, ended, fails=True)]):
            pass
    assert sorted(ended) == [0, 10]


async def test_who_stops_reading_ends_all() -> None:
    ended: list[int] = []
    streams = side_by_side([numbers(0, 10**9, ended), numbers(10, 10**9, ended)])
    await anext(streams)
    await streams.aclose()
    assert sorted(ended) == [0, 10]
