"""Models that another server answers for, as the trainer keeps them."""

import pytest

from ingrain import errors
from ingrain.v1 import trainer_pb2

URL = "https://model.test/v1"


async def test_an_endpoint_becomes_a_model_without_files(client, trainer, tmp_path):
    operation = await client.models.import_endpoint(
        f"{URL}/", "large", api_key_ref="env:LAB_KEY", id="elsewhere"
    )
    model = await operation.result(30)
    assert model.state == 2
    assert model == await client.models.get("elsewhere")
    assert model.endpoint == trainer_pb2.Endpoint(
        base_url=URL, model_id="large", api_key_ref="env:LAB_KEY", context_window=8192
    )
    assert (model.source, model.context_window, model.chat_template) == (URL, 8192, True)
    assert (model.parameter_count, model.uri, model.size_bytes) == (0, "", 0)
    assert not (tmp_path / "storage").exists()
    same = await (await client.models.import_endpoint(URL, "large", id="again", context_window=32000)).result(
        30
    )
    assert (same.sha256, same.context_window) == (model.sha256, 32000)
    other = await (await client.models.import_endpoint(URL, "small", id="other")).result(30)
    assert other.sha256 != model.sha256


async def test_it_cannot_be_trained(client, trainer, datasets):
    await (await client.models.import_endpoint(URL, "large", id="elsewhere")).result(30)
    data = datasets.put("data", [{"id": "1", "text": "a b."}])
    for validate_only in (False, True):
        with pytest.raises(errors.WrongState, match=r"model\.test") as refused:
            await client.models.create("elsewhere", data, validate_only=validate_only)
        assert refused.value.reason == "MODEL_CANNOT_BE_TRAINED"


async def test_an_estimate_keeps_nothing(client, trainer):
    operation = await client.models.import_endpoint(URL, "large", id="elsewhere", validate_only=True)
    assert "nothing is fetched" in operation.metadata.estimate.notes[0]
    with pytest.raises(errors.NotFound):
        await client.models.get("elsewhere")


@pytest.mark.parametrize(
    ("endpoint", "source", "reason"),
    [
        (trainer_pb2.Endpoint(base_url=URL, model_id="m"), "bundled://small", "ONE_SOURCE"),
        (None, "", "ONE_SOURCE"),
        (trainer_pb2.Endpoint(base_url="http://169.254.169.254/v1", model_id="m"), "", "RESERVED_ADDRESS"),
        (trainer_pb2.Endpoint(base_url="https://me:word@host/v1", model_id="m"), "", "BAD_BASE_URL"),
        (trainer_pb2.Endpoint(base_url="host/v1", model_id="m"), "", None),
        (trainer_pb2.Endpoint(base_url=URL), "", None),
        (trainer_pb2.Endpoint(base_url=URL, model_id="m", api_key_ref="sk-0123456789"), "", None),
    ],
)
async def test_what_is_no_endpoint_is_refused_at_once(client, trainer, endpoint, source, reason):
    request = trainer_pb2.ImportModelRequest(parent="projects/demo", source_uri=source, endpoint=endpoint)
    with pytest.raises(errors.Invalid) as refused:
        await client.stubs.trainer.ImportModel(request)
    if reason:
        assert refused.value.reason == reason
    assert "sk-0123456789" not in str(refused.value)
    assert [model async for model in client.models.list()] == []
