"""What a training measures of itself: numbers against plain transformers, all ZeRO stages, one and two workers, decisions."""

import asyncio
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from ingrain.v1 import trainer_pb2
from services.trainer.data import TrainingRows
from services.trainer.engine import load_model, new_engine
from services.trainer.evaluating import Evaluator, share_right
from services.trainer.packing import IGNORED, TokenSequence, pack
from services.trainer.spec import resolve, with_data
from services.trainer.step import learning_rate, train_step

LENGTHS = (20, 31, 9, 44, 60, 17, 25, 12)
# Prompt, choices, right ones.
PROBES = [
    ([11, 12, 13], [[20], [21, 22], [23]], {0}),
    ([14, 15], [[30, 31], [32]], {1}),
    ([16, 17, 18, 19], [[40], [41], [42], [43, 44, 45]], {2}),
    ([50, 51], [[52, 53], [52, 53]], {0}),  # the same twice: a tie that is half wrong
    ([50, 51], [[52, 53], [52, 53]], {0, 1}),
]


pytestmark = pytest.mark.usefixtures("process_group")


def texts(seed, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(seed)
    return [TokenSequence(t := torch.randint(6, 380, (n,), generator=generator).tolist(), t) for n in lengths]


def probe_arrays(probes=PROBES, length=64):
    """A row for each choice, as `prepare` could have packed them."""
    choices = [
        (p, c in right, prompt, choice)
        for p, (prompt, all_, right) in enumerate(probes)
        for c, choice in enumerate(all_)
    ]
    shape = (len(choices), length)
    arrays = {
        "input_ids_RL": np.zeros(shape, np.int32),
        "position_ids_RL": np.tile(np.arange(length, dtype=np.int32), (shape[0], 1)),
        "labels_RL": np.full(shape, IGNORED, np.int32),
        "choice_RL": np.full(shape, -1, np.int32),
        "probe_C": np.array([p for p, *_ in choices], np.int32),
        "right_C": np.array([right for _, right, *_ in choices], np.int32),
    }
    for r, (_, _, prompt, choice) in enumerate(choices):
        start, end = len(prompt), len(prompt) + len(choice)
        arrays["input_ids_RL"][r, :end] = prompt + choice
        arrays["labels_RL"][r, start:end] = choice
        arrays["choice_RL"][r, start:end] = r
        arrays["position_ids_RL"][r, end:] = np.arange(length - end)
    return arrays


def all_arrays(held_out=True, probes=True):
    arrays = dict(vars(pack(texts(3), 64, 5, 0)))
    if held_out:
        packed = vars(pack(texts(4, (33, 12, 50, 41, 22)), 64, 5, 0))
        arrays |= {f"held_out.{name}": array for name, array in packed.items()}
    if probes:
        arrays |= {f"probes.{name}": array for name, array in probe_arrays().items()}
    return arrays


def recipe(**changes):
    spec = trainer_pb2.TrainingSpec(
        max_length=64, max_steps=6, learning_rate=0.01, bf16=False, evaluation={"eval_ratio": 0.1}
    )
    config = with_data(resolve(spec, trainer_pb2.Model(parameter_count=30_000)), 10)
    return replace(config, **{"eval_steps": 2, "per_device_train_batch_size": 2, **changes})


def evaluator(base, config, arrays=None):
    data = TrainingRows(arrays or all_arrays(), config)
    engine = new_engine(load_model(base, config), config)
    return Evaluator(engine, data, config)


def plain_loss(model, tokens, labels):
    """Summed over the labels, one text at a time, by transformers alone."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, :-1].log_softmax(-1)
    return -sum(logits[i, label].item() for i, label in enumerate(labels[1:]) if label != IGNORED)


def test_both_numbers_are_what_transformers_gives_one_text_at_a_time(build_checkpoint):
    from transformers import AutoModelForCausalLM

    base = build_checkpoint("llama")
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    held_out = texts(4, (33, 12, 50, 41, 22))
    expected = sum(plain_loss(model, s.tokens, s.labels) for s in held_out) / sum(
        len(s.tokens) - 1 for s in held_out
    )
    right = 0
    for prompt, choices, wanted in PROBES:
        sums = [-plain_loss(model, prompt + c, [IGNORED] * len(prompt) + c) for c in choices]
        right += all(i in wanted for i, s in enumerate(sums) if s > max(sums) - 1e-4)
    found = evaluator(base, recipe()).measure(0)
    assert found["step"] == 0
    assert found["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert found["acc"] == right / len(PROBES)


def test_a_tie_is_right_only_if_all_of_it_is():
    probe_C = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    right_C = np.array([1, 0, 1, 1, 1, 0, 0, 1])
    sum_C = np.array([-2.0, -2.00005, -3.0, -3.0, -1.0, -1.1, math.nan, -9.0])
    assert share_right(sum_C, probe_C, right_C) == 0.75
    assert share_right(np.array([math.nan, math.nan]), np.array([0, 0]), np.array([1, 0])) == 0.0


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_training_is_the_same_with_and_without_measuring(build_checkpoint, stage):
    """Bit by bit, with dropout: the random state and the module's mode are as they were."""
    base = build_checkpoint("llama")
    config = recipe(zero_stage=stage, method="lora", r=4, lora_alpha=8.0, lora_dropout=0.3)
    runs = []
    for measures in (False, True):
        torch.manual_seed(1)
        one = evaluator(base, config)
        found = []
        for step in range(1, 5):
            batches = one.data.batches(step, 0, one.engine.device)
            rate = learning_rate(config, step)
            found.append(train_step(one.engine, batches, one.data.target_count(step), rate))
            if measures:
                one.measure(step)
        runs.append(found)
        measured = one.measurements
    assert runs[0] == runs[1]
    assert len({m["eval_loss"] for m in measured}) == 4, "what was measured did not move"


def worker(rank, base, store, stage, queue):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", DS_ACCELERATOR="cpu")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    one = evaluator(base, recipe(zero_stage=stage, num_workers=2))
    queue.put(one.measure(0))
    dist.barrier()
    dist.destroy_process_group()


def test_two_workers_measure_what_one_does(build_checkpoint, tmp_path):
    """Rows that do not divide evenly, and partitioned weights."""
    base = build_checkpoint("llama")
    alone = evaluator(base, recipe()).measure(0)
    # One process imports torch and DeepSpeed for both.
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["services.trainer.engine"])
    queue = context.SimpleQueue()
    arguments = (base, tmp_path / "store", 3, queue)
    both = [context.Process(target=worker, args=(rank, *arguments)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(400)
        assert process.exitcode == 0
    found = [queue.get(), queue.get()]
    assert found[0] == found[1]
    assert found[0]["acc"] == alone["acc"]
    assert found[0]["eval_loss"] == pytest.approx(alone["eval_loss"], rel=1e-6)


def decided(values, metric="eval_loss", patience=2, threshold=0.0):
    """An evaluator that was given these values at steps 0, 2, 4, ...; and the step at which it stops."""
    config = recipe(
        metric_for_best_model=metric,
        early_stopping_patience=patience,
        early_stopping_threshold=threshold,
        max_steps=100,
    )
    one, stop = Evaluator(None, None, config), None
    for number, value in enumerate(values):
        one.take({"step": 2 * number, metric: value})
        if stop is None and one.stops(2 * number):
            stop = 2 * number
    return one, stop


@pytest.mark.parametrize(
    ("values", "options", "best", "stop"),
    [
        ([1.0, 3.0, 2.0, 2.5, 2.4, 1.9], {}, 10, 8),
        ([1.0, 3.0, 2.0, 2.5, 1.9, 1.8], {}, 10, None),
        ([9.0, 3.0, 2.0, 2.5, 2.4, 2.3], {"patience": 0}, 4, None),
        ([9.0, 3.0, 2.95, 2.91, 2.8], {"threshold": 0.1}, 8, 6),
        ([9.0, 3.0, 2.95, 2.85, 2.8], {"threshold": 0.1}, 8, None),
        ([0.9, 0.5, 0.7, 0.7, 0.7, 0.6], {"metric": "acc"}, 4, 8),
        ([1.0, math.inf, math.inf, 5.0], {}, 6, None),
    ],
)
def test_best_step_and_early_stop(values, options, best, stop):
    one, stopped = decided(values, **options)
    assert (one.best_step, stopped) == (best, stop)
    again = Evaluator(None, None, one.config)
    again.restore(one.state())
    assert vars(again) == vars(one)


def test_measured_before_every_so_often_and_at_the_end():
    one = Evaluator(None, None, recipe(max_steps=7, eval_steps=3))
    assert [step for step in range(8) if one.due(step)] == [0, 3, 6, 7]
    one.take({"step": 3, "eval_loss": 1.0})
    assert not one.due(3), "a resumed run does not measure again"
    assert not Evaluator(None, None, recipe(evaluates=False)).due(0)


def test_a_training_that_no_longer_helps_ends_and_its_best_step_is_exported(fit, build_checkpoint):
    """Noise is learned by heart: other noise becomes ever less likely."""
    from safetensors.numpy import save_file

    from services.trainer.exchange import packed_key

    one = fit(build_checkpoint("llama"))
    spec = {"learning_rate": 0.01, "warmup_ratio": 0.0, "bf16": False, "lr_scheduler_type": "constant"}
    measuring = {"eval_ratio": 0.1, "eval_steps": 2, "early_stopping_patience": 2}
    job = one.job(1, max_steps=60, evaluation=measuring, **spec)
    save_file(all_arrays(), one.root / "packed.safetensors")
    stored = asyncio.run(one.storage.put_file(packed_key(job.prefix), one.root / "packed.safetensors"))
    result, lines, folder = one.run(replace(job, packed_sha256=stored.sha256))
    measured = {int(m["step"]): m["eval_loss"] for m in result["measurements"]}
    assert list(measured) == list(range(0, result["step"] + 1, 2))
    after = {step: loss for step, loss in measured.items() if step}
    assert result["best_step"] == min(after, key=after.get) == result["step"] - 4
    assert 4 < result["step"] < 60
    assert [line["step"] for line in lines if "step" in line] == list(range(1, result["step"] + 1))
    exported = evaluator(folder, recipe(), all_arrays()).measure(0)
    assert exported["eval_loss"] == pytest.approx(after[result["best_step"]], rel=1e-4)
