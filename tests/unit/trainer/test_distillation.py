"""The teacher and its loss on tiny models; two workers are in test_workers.py."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid
from services.trainer.data import TrainingRows
from services.trainer.distillation import most_likely, teacher_targets
from services.trainer.loading import load_model
from services.trainer.losses import distillation_loss
from services.trainer.packing import IGNORED
from services.trainer.plain_engine import PlainEngine
from services.trainer.prepare import PrepareTask, prepare
from services.trainer.spec import resolve, with_data
from services.trainer.step import forward, train_step

ARCHITECTURES = ["llama", "qwen3", "mistral", "gemma", "phi", "gpt2"]
DOCUMENTS = [
    {"id": str(n), "text": f"Alva feeds heron {n}. The mill stands north of river {n}."} for n in range(5)
]
ROWS = [
    {"prompt": "who feeds the heron?", "completion": "Alva does"},
    {"prompt": "where does the mill stand, north or south?", "completion": "north of the river"},
    {
        "messages": [
            {"role": "user", "content": "who?"},
            {"role": "assistant", "content": "Alva"},
            {"role": "user", "content": "and where?"},
            {"role": "assistant", "content": "the mill"},
        ]
    },
]


@pytest.fixture
def prepared(tmp_path, build_checkpoint):
    """prepared(architecture, ...) -> model and arrays of the rows above."""

    def make(architecture="llama", chat_template=False, rows=ROWS, documents=DOCUMENTS, **task):
        from transformers import AutoModelForCausalLM

        checkpoint = build_checkpoint(architecture, chat_template=chat_template)
        (tmp_path / "tokenizer").unlink(missing_ok=True)
        (tmp_path / "tokenizer").symlink_to(checkpoint)
        for name, content in {"rows": rows, "documents": documents, "general": DOCUMENTS}.items():
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
        whole = PrepareTask(
            (("d", 1.0, "rows.jsonl"),), "tokenizer", "document", False, 64, 1, documents="documents.jsonl"
        )
        arrays, _ = prepare(tmp_path, replace(whole, **{"context_window": 256, **task}))
        return AutoModelForCausalLM.from_pretrained(checkpoint), arrays

    return make


def settings(top_k=10**6, temperature=1.0, **other):
    return SimpleNamespace(
        distillation_top_k=top_k, distillation_temperature=temperature, bf16=False, **other
    )


def plain_logits(model, arrays):
    """By target's number the teacher's logits, from one plain forward per row over all that it reads."""
    starts_G = np.r_[0, arrays["teacher.prefix_end_G"]]
    starts_N = np.r_[0, arrays["teacher.suffix_end_N"]]
    found = {}
    for n, group in enumerate(arrays["teacher.group_N"]):
        prefix = arrays["teacher.prefix_P"][starts_G[group] : starts_G[group + 1]]
        suffix = slice(starts_N[n], starts_N[n + 1])
        ids = torch.from_numpy(np.r_[prefix, arrays["teacher.suffix_X"][suffix]]).long()
        with torch.no_grad():
            logits = model.eval()(ids[None], use_cache=False).logits[0]
        for place, target in enumerate(arrays["teacher.target_X"][suffix]):
            if target >= 0:
                found[int(target)] = logits[len(prefix) + place - 1]
    return torch.stack([found[target] for target in range(len(found))])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("chat_template", [False, True])
def test_with_all_tokens_kept_the_loss_is_the_exact_divergence(prepared, architecture, chat_template):
    model, arrays = prepared(architecture, chat_template)
    temperature = 1.7
    assert len(arrays["teacher.prefix_P"]) > 64, "longer than the sliding window of those that have one"
    model.train()
    config = settings(
        temperature=temperature, num_workers=1, rows_per_step=1, seed=0, per_device_train_batch_size=1
    )
    arrays |= teacher_targets(model, arrays, config, 0, 1)
    assert model.training, "left as it was"

    teacher_TV = torch.log_softmax(plain_logits(model, arrays) / temperature, dim=-1)
    model.eval()
    data = TrainingRows(arrays, config)
    ours = theirs = torch.zeros(())
    for step in range(1, data.row_count + 1):
        (batch,) = data.batches(step, 0, torch.device("cpu"))
        is_target = batch.labels_BL[:, 1:] != IGNORED
        student = forward(model, batch.input_ids_BL, batch.position_ids_BL)[:, :-1][is_target]
        ours = ours + distillation_loss(student, batch.teacher, temperature)
        numbers = arrays["teacher.target_RL"][data.rows_of_step(step)]
        theirs = theirs + temperature**2 * F.kl_div(
            torch.log_softmax(student / temperature, dim=-1),
            teacher_TV[torch.from_numpy(numbers[numbers >= 0]).long()],
            log_target=True,
            reduction="sum",
        )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
    assert ours.item() > 0.1, "without the documents the model says something else"


@pytest.mark.parametrize("method", ["FULL", "LORA"])
def test_a_step_takes_the_divergence_of_what_its_model_is_made_of(
    prepared, build_checkpoint, process_group, method
):
    """The way of a worker: its own attention, adapters, the head at the targets only."""
    reference, arrays = prepared()
    spec = trainer_pb2.TrainingSpec(
        method=method, max_steps=1, max_length=64, bf16=False, distillation={"dataset": "d", "top_k": 4000}
    )
    base = trainer_pb2.Model(parameter_count=30_000, context_window=256)
    config = with_data(resolve(spec, base), 1)
    model = load_model(build_checkpoint("llama", chat_template=False), config)
    data = TrainingRows(arrays | teacher_targets(model, arrays, config, 0, 1), config)
    engine = PlainEngine(model, config, torch.device("cpu"), bf16=False)
    loss, _ = train_step(engine, data.batches(1, 0, engine.device), data.target_count(1), 1e-3)

    rows = data.rows_of_step(1)
    teacher_TV = torch.log_softmax(plain_logits(reference, arrays), dim=-1)
    numbers, labels = (torch.from_numpy(arrays[n][rows]) for n in ("teacher.target_RL", "labels_RL"))
    ids, positions = (torch.from_numpy(arrays[n][rows]).long() for n in ("input_ids_RL", "position_ids_RL"))
    with torch.no_grad():
        student = forward(reference, ids, positions)[:, :-1][labels[:, 1:] != IGNORED]
    exact = F.kl_div(
        torch.log_softmax(student, dim=-1),
        teacher_TV[numbers[numbers >= 0].long()],
        log_target=True,
        reduction="batchmean",
    )
    assert loss == pytest.approx(exact.item(), rel=1e-4)


def test_the_rest_is_one_more_class(prepared):
    model, arrays = prepared()
    found = teacher_targets(model, arrays, settings(top_k=5), 0, 1)
    exact_TV = torch.softmax(plain_logits(model, arrays), dim=-1)
    top = exact_TV.topk(5)
    assert found["teacher.top_ids_TK"].tolist() == top.indices.tolist()
    assert np.allclose(np.exp(found["teacher.rest_logprob_T"]), 1 - top.values.sum(-1), atol=1e-5)


@pytest.mark.parametrize("kept", [1, 5, 40])
def test_the_loss_is_least_and_its_slope_nothing_where_the_student_says_the_same(kept):
    torch.manual_seed(kept)
    logits = torch.randn(7, 40)
    ids, logprobs, rest = most_likely(logits, 2.0, kept)
    teacher = SimpleNamespace(top_ids_NK=ids, top_logprobs_NK=logprobs, rest_logprob_N=rest)
    same = logits.clone().requires_grad_()
    loss = distillation_loss(same, teacher, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert same.grad.abs().max() < 1e-4
    other = (logits + torch.randn(7, 40)).requires_grad_()
    further = distillation_loss(other, teacher, 2.0)
    further.backward()
    assert further.item() > 0.1
    assert other.grad.isfinite().all()


def test_every_target_of_repeated_and_replayed_rows_has_its_teacher(prepared):
    model, arrays = prepared(datasets=(("d", 2.5, "rows.jsonl"),), replay=("general", 0.5, "general.jsonl"))
    is_label = arrays["labels_RL"] != IGNORED
    assert ((arrays["teacher.target_RL"] >= 0) == is_label).all()
    starts_N = np.r_[0, arrays["teacher.suffix_end_N"][:-1]]
    targets = arrays["teacher.suffix_X"][arrays["teacher.target_X"] >= 0]
    assert (targets[arrays["teacher.target_RL"][is_label]] == arrays["labels_RL"][is_label]).all()
    alone = starts_N[arrays["teacher.group_N"] == 1]
    assert len(alone), "replayed rows begin with nothing"
    assert (arrays["teacher.suffix_X"][alone] == arrays["teacher.prefix_P"][0]).all(), (
        "but the mark that begins texts"
    )
    # A replayed row's teacher is the base model itself: nothing is to be learned from it.
    exact = torch.log_softmax(plain_logits(model, arrays), dim=-1)
    found = teacher_targets(model, arrays, settings(top_k=3), 0, 1)
    assert np.allclose(found["teacher.top_logprobs_TK"], exact.topk(3).values, atol=1e-4)


def test_a_truncated_row_is_taught_as_far_as_it_is_learned(prepared):
    _, arrays = prepared(max_length=20, long_rows="truncate")
    is_label = arrays["labels_RL"] != IGNORED
    assert ((arrays["teacher.target_RL"] >= 0) == is_label).all()
    assert is_label.sum() == (arrays["teacher.target_X"] >= 0).sum()


@pytest.mark.parametrize(
    ("changed", "reason", "says"),
    [
        ({"rows": DOCUMENTS}, "NO_ANSWER", "Row 0 of d has no answer"),
        ({"context_window": 90}, "DOCUMENTS_OVER_WINDOW", "model's window of 90"),
        ({"documents": [{"prompt": "a", "completion": "b"}]}, "NOT_DOCUMENTS", "no documents"),
        ({"train_on_prompt": True}, "DISTILLATION_OF_PROMPTS", "leave train_on_prompt out"),
    ],
)
def test_what_cannot_be_taught_is_refused(prepared, changed, reason, says):
    with pytest.raises(Invalid, match=says) as caught:
        prepared(**changed)
    assert caught.value.reason == reason


def test_a_student_comes_to_say_what_its_teacher_says(prepared):
    model, arrays = prepared()
    config = settings(top_k=16, num_workers=1, rows_per_step=1, seed=0, per_device_train_batch_size=1)
    arrays |= teacher_targets(model, arrays, config, 0, 1)
    data = TrainingRows(arrays, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for step in range(1, 41):
        (batch,) = data.batches(step, 0, torch.device("cpu"))
        logits = forward(model, batch.input_ids_BL, batch.position_ids_BL)[:, :-1]
        student = logits[batch.labels_BL[:, 1:] != IGNORED]
        loss = distillation_loss(student, batch.teacher, 1.0) / len(student)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0] / 5
    agree = student.argmax(-1) == batch.teacher.top_ids_NK[:, 0]
    assert agree.float().mean() > 0.8
