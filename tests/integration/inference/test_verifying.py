"""A model that is VERIFYING answers the services that verify it, and nobody else."""

from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2
from ingrain.v1 import inference_pb2 as pb
from services.inference.settings import InferenceSettings

BASE = "projects/demo/models/base"


@pytest.fixture
def settings(settings: InferenceSettings) -> InferenceSettings:
    """Names are remembered, so that what a service was told could be told to others."""
    return settings.model_copy(update={"model_names_s": 60.0})


def question() -> pb.GenerateRequest:
    ids = [pb.Input(token_ids=pb.TokenIds(ids=ids)) for ids in ([5, 6, 7, 8], [9, 10])]
    return pb.GenerateRequest(model=BASE, inputs=ids, prompt_logprobs=True)


async def test_only_services_may_ask_a_model_that_is_verified(
    service: AsyncClient, client: AsyncClient, gateway: Any
) -> None:
    gateway.models[BASE].state = common_pb2.VERIFYING
    answer = await service.stubs.inference.Generate(question())
    assert [[token.id for token in one.prompt_tokens] for one in answer.generations] == [
        [5, 6, 7, 8],
        [9, 10],
    ]
    for one in answer.generations:
        assert not one.prompt_tokens[0].HasField("logprob")
        assert all(token.logprob < 0 for token in one.prompt_tokens[1:])
    with pytest.raises(errors.WrongState, match="VERIFYING") as caught:
        await client.stubs.inference.Generate(question())
    assert caught.value.reason == "MODEL_NOT_ACTIVE"
    gateway.models[BASE].state = common_pb2.ACTIVE
    assert (await client.stubs.inference.Generate(question())).generations == answer.generations
