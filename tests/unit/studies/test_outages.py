import grpc
import pytest

from ingrain import errors
from ingrain.v1 import studies_pb2
from servicekit.errors import Invalid, Unavailable, WrongState
from services.studies.failures import domain_error, step_error
from services.studies.run import through_outages


async def test_a_study_is_run_again_from_the_top_until_the_platform_answers() -> None:
    outcomes = [errors.Unavailable("gone"), errors.DeadlineExceeded("late"), studies_pb2.Study(name="s")]

    async def run() -> studies_pb2.Study:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert (await through_outages(run)).name == "s"


async def test_what_will_not_pass_ends_it_at_once() -> None:
    async def run() -> studies_pb2.Study:
        raise errors.WrongState("no", reason="NOT_NOW", metadata={"field": "x", "limit": "3"})

    with pytest.raises(WrongState) as caught:
        await through_outages(run)
    assert (caught.value.reason, caught.value.metadata) == ("NOT_NOW", {"limit": "3"})


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_every_code_becomes_an_error_of_ours(code: grpc.StatusCode) -> None:
    assert domain_error(errors.IngrainError("text", code=code)).message == "text"


def test_a_step_that_failed_is_permanent_and_says_what_to_do() -> None:
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
        cause = errors.IngrainError("no workers.", code=code, reason="NO_RESOURCES")
        error = step_error(
            "train finetune", errors.OperationFailed("projects/p/models/m/operations/o", cause)
        )
        assert not isinstance(error, Unavailable)
        assert error.message.startswith("The step `train finetune` failed: no workers. Mend it")
    field = errors.FieldViolation("training.max_length", "too short")
    cause = errors.Invalid("row 3 is longer", reason="ROW_TOO_LONG", field_violations=[field])
    invalid = step_error("train finetune", errors.OperationFailed("o", cause))
    assert isinstance(invalid, Invalid)
    assert (invalid.reason, invalid.field) == ("ROW_TOO_LONG", "training.max_length")
