"""What a processor multiplies in bfloat16 comes in few shapes: it compiles a kernel for each (services/trainer/kernels.py)."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from services.trainer import attention, kernels
from services.trainer.bare import config_of
from services.trainer.data import Batch
from services.trainer.loading import load_model
from services.trainer.packing import IGNORED, TokenSequence, pack
from services.trainer.plain_engine import PlainEngine
from services.trainer.step import reading_of
from services.trainer.tokens import rounded


def test_lengths_are_counted_as_attention_reads_them():
    assert (kernels.EXACT, kernels.STRIDE) == (attention.MOST_EXACT, attention.STRIDE)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_steps_meet_few_shapes(build_checkpoint, process_group, method):
    """Training and measuring. Every step has another count of tokens and of targets, and texts of other lengths."""
    torch.manual_seed(0)
    config = config_of({"method": method, "r": 4}, 1)
    engine = PlainEngine(
        load_model(build_checkpoint("llama"), config), config, torch.device("cpu"), bf16=True
    )
    met = []
    for step in range(12):
        given = answers([65 + 2 * step, 70 + 2 * step, 5 + step, 120 - step], masked=step)
        with Multiplied() as products:
            reading = reading_of(engine, given)
            with torch.no_grad():
                engine(**reading.inputs, targets=dataclasses.replace(reading.targets, each=True))
            engine.backward(engine(**reading.inputs, targets=reading.targets))
        met.append(products.shapes)
    # Three sizes of lines, two of texts; with one of them not rounded there are at least 3.7 times as many as in a step.
    assert len(set().union(*met)) < 3.5 * min(map(len, met))


def answers(lengths, masked):
    """A row each; of the first nothing is learned of its first `masked` tokens."""
    texts = [torch.randint(6, 380, (n,)).tolist() for n in lengths]
    labels = [[IGNORED] * masked + texts[0][masked:], *texts[1:]]
    packed = pack([TokenSequence(*pair) for pair in zip(texts, labels, strict=True)], 128, 0, 0)
    arrays = (packed.input_ids_RL, packed.position_ids_RL, packed.labels_RL)
    return Batch(*(torch.from_numpy(array).long() for array in arrays))


class Multiplied(TorchDispatchMode):
    """Notes the shapes of all products in bfloat16."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in ("mm", "addmm", "addmm_", "bmm", "baddbmm") and found.dtype == torch.bfloat16:
            self.shapes.add((name, *(tuple(t.shape) for t in args if isinstance(t, torch.Tensor))))
        return found


def test_sizes_are_rounded_up_by_little_to_few():
    for count in range(1, 5000):
        assert count <= rounded(count) < count * 17 / 16
    assert len({rounded(count) for count in range(513, 1025)}) == 16
