"""Estimates over sockets: rows are read, split and packed; nothing is trained, so no Ray is needed."""

import pytest

from ingrain import errors

DOCUMENTS = [{"text": "Alva feeds the heron. The mill stands north. It is so."} for _ in range(40)]


@pytest.fixture
async def base(client, build_checkpoint):
    return await (await client.models.upload(build_checkpoint("llama"), id="base")).result(90)


async def estimate(client, data, **training):
    operation = await client.models.create("base", data, validate_only=True, **training)
    assert operation.done
    return operation.metadata.estimate


async def test_steps_are_reckoned_from_tokens_and_rows_from_the_splitting(client, base, datasets):
    data = datasets.put("facts", DOCUMENTS)
    one = await estimate(client, data, max_steps=10, max_length=64, per_device_train_batch_size=1)
    wanted = one.cost.trained_token_count
    same = await estimate(client, data, max_tokens=wanted, max_length=64, per_device_train_batch_size=1)
    twice = await estimate(client, data, max_tokens=2 * wanted, max_length=64, per_device_train_batch_size=1)
    assert (one.step_count, one.row_count) == (10, 40)
    assert same.step_count == pytest.approx(10, abs=1)
    assert twice.step_count == pytest.approx(20, abs=1)
    for splitting in ("SENTENCE", "CUMULATIVE"):
        split = await estimate(client, data, max_steps=10, max_length=64, splitting=splitting)
        assert split.row_count == 120


async def test_tokens_and_steps_together_are_refused(client, base, datasets):
    data = datasets.put("facts", DOCUMENTS)
    with pytest.raises(errors.Invalid, match="max_tokens and max_steps are both set") as caught:
        await estimate(client, data, max_tokens=1000, max_steps=10)
    assert caught.value.reason == "TOKENS_AND_STEPS"
    assert caught.value.field_violations[0].field == "training.max_tokens"
    with pytest.raises(errors.Invalid, match="lower max_tokens"):
        await estimate(client, data, max_tokens=10**12)
