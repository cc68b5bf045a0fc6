"""Loss, schedule and packing on real tiny models; no DeepSpeed, no Ray."""

import pytest
import torch

from ingrain.v1 import trainer_pb2
from services.trainer.engine import keeps_segments_apart
from services.trainer.packing import TokenSequence, pack
from services.trainer.spec import resolve, with_data
from services.trainer.step import forward, learning_rate, target_loss_sum

ARCHITECTURES = ["llama", "qwen3", "mistral", "gemma", "phi", "gpt2"]


@pytest.fixture(scope="module")
def model(build_checkpoint):
    from transformers import AutoModelForCausalLM

    def load(architecture):
        return AutoModelForCausalLM.from_pretrained(
            build_checkpoint(architecture), attn_implementation="sdpa"
        )

    return load


def tensors(packed):
    return tuple(
        torch.from_numpy(array).long()
        for array in (packed.input_ids_RL, packed.position_ids_RL, packed.labels_RL)
    )


def loss_of(model, packed):
    input_ids, position_ids, labels = tensors(packed)
    return target_loss_sum(forward(model, input_ids, position_ids), labels)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_loss_is_the_sum_of_separate_losses(model, architecture):
    """Guards the silent trap: with an attention mask or a cache the segments read one another, without an error."""
    torch.manual_seed(1)
    sequences = [
        TokenSequence(t := torch.randint(6, 380, (n,)).tolist(), t) for n in (17, 30, 5, 64, 41, 9, 100)
    ]
    net = model(architecture).eval()
    with torch.no_grad():
        together = loss_of(net, pack(sequences, 128, seed=0, padding_id=0))
        alone = sum(loss_of(net, pack([s], len(s.tokens), seed=0, padding_id=0)) for s in sequences)
        masked = masked_loss(net, pack(sequences, 128, seed=0, padding_id=0))
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    assert keeps_segments_apart(net)
    assert abs(masked - alone.item()) > 1e-3, "the trap would go unseen: this test could not fail"


def masked_loss(net, packed):
    input_ids, position_ids, labels = tensors(packed)
    output = net(
        input_ids=input_ids,
        position_ids=position_ids,
        attention_mask=torch.ones_like(input_ids),
        use_cache=False,
    )
    return target_loss_sum(output.logits, labels).item()


def test_the_loss_is_transformers_own_for_a_plain_text(model):
    net = model("llama").eval()
    ids = torch.arange(10, 40)[None]
    with torch.no_grad():
        theirs = net(input_ids=ids, labels=ids).loss
        ours = target_loss_sum(forward(net, ids, torch.arange(30)[None]), ids) / 29
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


def rates(**spec):
    base = trainer_pb2.Model(parameter_count=10**6)
    config = with_data(resolve(trainer_pb2.TrainingSpec(max_steps=10, learning_rate=1.0, **spec), base), 1)
    return [round(learning_rate(config, step), 3) for step in range(1, 11)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"lr_scheduler_type": "constant", "warmup_ratio": 0.2}, [0.5] + [1.0] * 9),
        ({"warmup_ratio": 0.2}, [0.5, 1.0, *(round(k / 9, 3) for k in range(8, 0, -1))]),
        ({"warmup_ratio": 0}, [round(k / 11, 3) for k in range(10, 0, -1)]),
    ],
)
def test_schedules(spec, expected):
    assert rates(**spec) == expected


def test_cosine_falls_from_the_peak_towards_zero():
    found = rates(lr_scheduler_type="cosine", warmup_ratio=0.1)
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    assert found[5] == pytest.approx(0.5)
    assert 0 < found[-1] < 0.05
