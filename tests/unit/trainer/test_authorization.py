"""No call of one project reaches a model of another: every method of the service, by the project in the name it is given."""

import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ingrain.v1 import trainer_pb2
from servicekit import identity
from servicekit.errors import NotFound
from services.trainer.importing import Importing
from services.trainer.parts import Uploads
from services.trainer.servicer import TrainerServicer

METHODS = trainer_pb2.DESCRIPTOR.services_by_name["Trainer"].methods
MODEL = "projects/p/models/base"
STRANGER = identity.Caller("user", "somebody", "projects/q")
STRANGE_SERVICE = identity.Caller("service", "a study's", "projects/q")


@pytest.fixture
def servicer(desk: Any) -> TrainerServicer:
    importing = Importing(desk.settings, desk.models, Uploads(desk.database, desk.storage, desk.settings))
    return TrainerServicer(
        desk.settings, desk.models, desk.operations, importing, desk.trainings, desk.history
    )


def request_of(method: Any) -> Any:
    """With everything that names a resource: of the message, or of the header that begins a stream."""
    request = getattr(trainer_pb2, method.input_type.name)()
    named = request.header if method.client_streaming else request
    fields = {field.name for field in named.DESCRIPTOR.fields}
    if "name" in fields:
        named.name = MODEL
    if "parent" in fields:
        named.parent = "projects/p"
    if "upload_id" in fields:
        named.upload_id = "u-0"
    assert named.ListFields(), f"{method.name} names nothing"
    return request


async def call(servicer: TrainerServicer, method: Any) -> None:
    request = request_of(method)

    async def stream() -> AsyncIterator[Any]:
        yield request

    answer = getattr(servicer, method.name)(stream() if method.client_streaming else request, None)
    if method.server_streaming:
        async for _ in answer:
            pass
    else:
        await answer


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("caller", [STRANGER, STRANGE_SERVICE], ids=lambda caller: caller.kind)
async def test_a_stranger_finds_nothing(
    servicer: TrainerServicer, desk: Any, method: Any, caller: identity.Caller
) -> None:
    before = copy.deepcopy(await desk.rows.get(MODEL))
    identity.set_caller(caller)
    with pytest.raises(NotFound) as caught:
        await call(servicer, method)
    assert caught.value.reason == "RESOURCE_NOT_FOUND"
    assert await desk.rows.get(MODEL) == before
    assert not [found.key async for found in desk.storage.list("projects/")]


@pytest.mark.parametrize("place", ["base_model", "resume_from", "dataset", "probes", "replay", "teacher"])
async def test_what_a_training_is_made_of_is_of_one_project(
    servicer: TrainerServicer, desk: Any, place: str
) -> None:
    """The caller may see its own project only; a name of another inside of the request opens none."""
    identity.set_caller(identity.Caller("user", "somebody", "projects/p"))
    request = trainer_pb2.CreateModelRequest(parent="projects/p")
    spec = request.training
    spec.base_model = MODEL
    foreign = "projects/q/datasets/d"
    if place == "base_model":
        spec.base_model = "projects/q/models/base"
    elif place == "resume_from":
        request.resume_from = "projects/q/models/m"
    elif place == "dataset":
        spec.datasets.add(dataset=foreign)
    elif place == "probes":
        spec.evaluation.probes = foreign
    elif place == "replay":
        spec.replay.dataset = foreign
    else:
        spec.distillation.dataset = foreign
    for dry in (True, False):
        request.validate_only = dry
        with pytest.raises(Exception, match="is not in projects/p") as caught:
            await servicer.CreateModel(request, None)
        assert caught.value.reason == "OTHER_PROJECT"
