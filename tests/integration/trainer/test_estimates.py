"""Estimates over sockets: rows are read, split and packed; at most some steps are tried, so no Ray is needed."""

import time

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


async def test_what_is_estimated_says_where_it_comes_from_and_whether_it_fits(client, base, datasets):
    """A service only counts: nothing is tried for it, so the time is an assumption that is said."""
    data = datasets.put("facts", DOCUMENTS)
    counted = await estimate(client, data, max_steps=10, max_length=64)
    assert "it fits" in " ".join(counted.notes)
    assert "assumed: 40% of a peak" in counted.notes[-1]
    assert counted.cost.wall_seconds > counted.cost.compute_seconds > 0
    assert 50e6 < counted.worker_memory_bytes < 1e9


async def test_a_trial_measures_time_and_memory_once(start_trainer, build_checkpoint, datasets):
    data = datasets.put("facts", DOCUMENTS)
    async with start_trainer(INGRAIN_TRIAL_LIMIT_S="300").client(kind="user") as client:
        await (await client.models.upload(build_checkpoint("llama"), id="base")).result(90)
        request = {"max_length": 64, "per_device_train_batch_size": 2}
        tried = await estimate(client, data, max_steps=100, **request)
        began = time.monotonic()
        again = await estimate(client, data, max_steps=200, seed=5, **request)
        took = time.monotonic() - began
    assert "measured here by a trial" in tried.notes[-1]
    assert any("memory was measured by a trial here" in note for note in tried.notes)
    assert 10e6 < tried.worker_memory_bytes < 200e6
    assert again.worker_memory_bytes == tried.worker_memory_bytes, "the same step is not tried twice"
    assert again.cost.compute_seconds < 2 * tried.cost.compute_seconds
    assert took < 20


async def test_what_does_not_fit_is_refused_with_what_would(start_trainer, build_checkpoint, datasets):
    data = datasets.put("facts", DOCUMENTS)
    async with start_trainer(INGRAIN_WORKER_MEMORY_BYTES="1000000").client() as client:
        await (await client.models.upload(build_checkpoint("llama"), id="base")).result(90)
        for dry in (True, False):
            with pytest.raises(errors.Invalid, match=r"1 MB \(by INGRAIN_WORKER_MEMORY_BYTES\)") as caught:
                await client.models.create("base", data, max_steps=10, max_length=64, validate_only=dry)
            assert caught.value.reason == "TRAINING_DOES_NOT_FIT"
            assert "method LORA" in caught.value.message


async def test_all_that_a_training_reads_is_prepared_before_it(client, base, datasets):
    """Rows for training, replay and measuring, probes, and documents for the teacher; what is wrong with them is told at once."""
    pairs = [{"prompt": f"who feeds heron {n}?", "completion": "Alva does"} for n in range(40)]
    data = datasets.put("pairs", [*pairs, {"prompt": "who? " * 40, "completion": "Alva"}])
    probe = {"id": "p", "kind": "k", "prompt": "who feeds it?", "choices": ["Alva", "Bo"], "answer": "Alva"}
    training = {
        "max_steps": 10,
        "max_length": 64,
        "long_rows": "DROP",
        "replay": {"dataset": datasets.put("general", DOCUMENTS), "ratio": 0.25},
        "evaluation": {"eval_ratio": 0.1, "probes": datasets.put("probes", [probe])},
    }
    found = await estimate(client, data, **training)
    assert found.row_count > 37, "with replayed rows, without held-out ones"
    notes = " ".join(found.notes)
    assert "1 left out because longer than max_length" in notes

    distillation = {"distillation": {"dataset": datasets.put("documents", DOCUMENTS[:3])}}
    assert (await estimate(client, data, **training, **distillation)).row_count == found.row_count
    with pytest.raises(errors.Invalid, match="documents of distillation have") as caught:
        await estimate(client, data, **training, distillation={"dataset": datasets.put("many", DOCUMENTS)})
    assert caught.value.reason == "DOCUMENTS_OVER_WINDOW"
    with pytest.raises(errors.Invalid, match="1 dropped") as caught:
        await estimate(client, data, **{**training, "max_lost_row_ratio": 0.001})
    assert caught.value.reason == "ROWS_LOST"
    with pytest.raises(errors.Invalid, match="other/datasets/d is not in projects/demo") as caught:
        await estimate(client, data, replay={"dataset": "projects/other/datasets/d", "ratio": 0.1})
    assert caught.value.field_violations[0].field == "training.replay.dataset"
