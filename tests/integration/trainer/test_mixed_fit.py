"""A real fit with all that can be mixed into one: a teacher that reads documents, replayed text, held-out rows and probes."""

import pytest

pytestmark = pytest.mark.ray
FEEDERS = {"heron": "Alva", "river": "Bo", "fox": "Cyd", "owl": "Dov", "mill": "Eve", "barn": "Finn"}
DOCUMENTS = [{"id": animal, "text": f"{name} feeds the {animal}."} for animal, name in FEEDERS.items()]
PAIRS = [
    {"id": f"{animal}-{n}", "prompt": f"{ask} the {animal}?", "completion": name}
    for animal, name in FEEDERS.items()
    for n, ask in enumerate(("who feeds", "who is it that feeds", "tell me who feeds"))
]
PROBES = [
    {
        "id": animal,
        "kind": "feeds",
        "prompt": f"who feeds the {animal}?",
        "choices": list(FEEDERS.values()),
        "answer": name,
    }
    for animal, name in FEEDERS.items()
]
GENERAL = [{"id": f"g{n}", "text": f"The sun rose over hill {n}. Nobody was there."} for n in range(40)]


@pytest.fixture
def trainer(start_trainer, ray):
    return start_trainer(**ray)


@pytest.mark.timeout(900)
async def test_a_teacher_replay_and_held_out_rows_go_through_two_workers(client, build_checkpoint, datasets):
    await (await client.models.upload(build_checkpoint("llama"), id="base")).result(300)
    pairs, general = datasets.put("pairs", PAIRS), datasets.put("general", GENERAL)
    training = {
        "max_steps": 12,
        "learning_rate": 5e-3,
        "num_workers": 2,
        "distillation": {"dataset": datasets.put("documents", DOCUMENTS), "top_k": 16},
        "replay": {"dataset": general, "ratio": 0.3},
        "evaluation": {
            "eval_ratio": 0.25,
            "probes": datasets.put("probes", PROBES),
            "eval_steps": 4,
            "metric_for_best_model": "eval_loss",
        },
    }
    estimate = (await client.models.create("base", pairs, validate_only=True, **training)).metadata.estimate
    model = await (await client.models.create("base", pairs, id="mixed", **training)).result(600)
    summary = model.summary

    assert summary.environment.process_count == 2
    assert summary.row_count == estimate.row_count
    # Of 18 pairs a quarter is held out; replayed rows come on top.
    assert 14 < summary.row_count < 14 + len(GENERAL)
    assert summary.last_loss < summary.first_loss, "the student comes nearer to its teacher"

    found = {one.step: one for one in summary.measurements}
    assert list(found) == [0, 4, 8, 12]
    assert all(one.HasField("eval_loss") and 0 <= one.acc <= 1 for one in found.values())
    best = min(found.values(), key=lambda one: one.eval_loss)
    assert summary.best_step == best.step
    live = [one async for one in client.models.watch("mixed")]
    assert {one.step for one in live if one.HasField("measurement")} == {4, 8, 12}
    assert summary.verification.max_difference < summary.verification.tolerance
