"""The learning-rate search: what a trial is, which rate wins, what a later attempt does again. Ray is in the integration tests."""

import asyncio
import json
from dataclasses import replace

import pytest

from services.trainer import exchange, search
from services.trainer.settings import TrainerSettings
from services.trainer.trying import try_rate

pytestmark = pytest.mark.usefixtures("process_group")
PLAIN = {"bf16": False, "evaluation": {"eval_ratio": 0.1, "eval_steps": 4}, "held_out": True}


def trial(rate, loss):
    return {"learning_rate": rate, "eval_loss": loss, "compute_seconds": 1.0}


@pytest.fixture
def one(fit, build_checkpoint):
    return fit(build_checkpoint("llama"))


def job_of(one, *rates, number=1, **spec):
    asked = {"learning_rates": rates, "max_steps": 4}
    return one.job(number, max_steps=12, learning_rate_search=asked, **PLAIN, **spec)


def test_a_trial_is_the_beginning_of_the_training(one):
    """With the same rate the loss on held-out rows is the training's own at that step, to the last bit."""
    found = try_rate(search.at_rate(job_of(one, 0.01, 0.02), 0.02))
    assert found["learning_rate"] == 0.02
    assert found["compute_seconds"] > 0
    result, _, _ = one.run(one.job(2, max_steps=12, learning_rate=0.02, **PLAIN))
    measured = {m["step"]: m["eval_loss"] for m in result["measurements"]}
    assert found["eval_loss"] == measured[4]
    assert found["eval_loss"] != measured[0]


def test_a_rate_that_diverges_has_no_loss(one):
    """A rate that turns all weights into no numbers after one step."""
    job = job_of(one, 1e30, warmup_ratio=0.0)
    assert try_rate(search.at_rate(job, 1e30))["eval_loss"] is None
    assert asyncio.run(exchange.get_json(one.storage, exchange.error_key(job.prefix))) is None


def test_what_else_is_wrong_is_told_as_the_trainings_own(one):
    job = job_of(one, 0.1, method="LORA", target_modules=["no_such"])
    with pytest.raises(Exception, match="no_such"):
        try_rate(job)
    told = asyncio.run(exchange.get_json(one.storage, exchange.error_key(job.prefix)))
    assert told["reason"] == "UNSUPPORTED_MODEL"


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([trial(0.1, 2.0), trial(0.2, 1.0), trial(0.3, None)], 0.2),
        ([trial(0.2, 1.0), trial(0.1, 1.0)], 0.1),
        ([trial(0.1, None), trial(0.2, None)], None),
    ],
)
def test_the_lowest_loss_wins(found, best):
    assert search.lowest(found) == best


def test_an_attempt_after_the_search_does_not_search_again(one):
    """There is no Ray here to search with."""
    trials = [trial(0.01, 3.0), trial(0.1, 2.0)]
    job = replace(job_of(one, 0.01, 0.1), searched=trials, submit_time=5.0)
    chosen = search.searched(json_copy(job), {"CPU": 1.0}, TrainerSettings(), one.storage)
    assert chosen.training_config().learning_rate == 0.1
    assert chosen.submit_time == pytest.approx(5.0, abs=1.0)
    table = asyncio.run(exchange.get_json(one.storage, exchange.search_key(job.prefix)))
    assert table == {"learning_rate": 0.1, "trials": trials}
    unsearched = one.job(2, max_steps=2)
    assert search.searched(unsearched, {"CPU": 1.0}, TrainerSettings(), one.storage) is unsearched


def test_a_search_in_which_all_diverged_ends_with_advice(one):
    job = replace(job_of(one, 0.5, 1.0), searched=[trial(0.5, None), trial(1.0, None)])
    with pytest.raises(search.NoRate):
        search.searched(json_copy(job), {"CPU": 1.0}, TrainerSettings(), one.storage)
    told = asyncio.run(exchange.get_json(one.storage, exchange.error_key(job.prefix)))
    assert (told["reason"], told["permanent"]) == ("TRAINING_DIVERGED", True)
    assert "Search rates around 0.05" in told["message"]


def test_trials_are_read_by_the_next_attempt(one):
    job = job_of(one, 0.01, 0.1, 1.0)
    for number in (0, 2):
        key = exchange.trial_key(job.prefix, number)
        asyncio.run(exchange.put_json(one.storage, key, trial((0.01, 0.1, 1.0)[number], None)))
    found = asyncio.run(exchange.read_trials(one.storage, job.prefix, (0.01, 0.1, 1.0)))
    assert [one["learning_rate"] for one in found] == [0.01, 1.0]


def json_copy(job):
    """As it comes to the driver."""
    return exchange.Job(**json.loads(json.dumps(job.__dict__)))
