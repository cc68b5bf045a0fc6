"""Memory of the kernels that oneDNN compiles on a processor, one for each shape of a bfloat16 multiplication.

Micro-batches hold as many tokens as are to be read, rounded to few sizes (tokens.rounded), and attention goes text by text, exact in float32 where
texts are short and else in strides (attention.one_of): every new size gets kernels of its own. How many there are after so many steps is
fitted to what was measured (docs/training-estimates.md), not derived. On GPUs and in float32 there are none.
"""

import math
from dataclasses import dataclass

from services.trainer.config import DataSummary, TrainingConfig

KERNEL_BYTES = 0.7 * (1 << 20)
MOST_KERNELS = 1024  # that oneDNN keeps (ONEDNN_PRIMITIVE_CACHE_CAPACITY)
OF_SIZE = {"full": 6.0, "lora": 5.0}  # for a size of a micro-batch that was not there before
SIZES = 16  # that micro-batches have, mostly
OF_LENGTH = 2.5  # for a length of texts, in strides, that was not there before
EXACT, STRIDE = 64, 32  # attention.MOST_EXACT and its STRIDE, in a room without torch
SPREAD = 1.5  # the mean text that a token is in, by the mean text


@dataclass(frozen=True)
class Texts:
    """What is known of the data; nothing: the worst."""

    tokens: float = math.inf  # of the text that a token is in, on average
    count: float = math.inf
    row_count: float = math.inf  # packed rows

    @staticmethod
    def of(data: DataSummary) -> "Texts":
        return Texts(SPREAD * data.mean_row_tokens, data.row_count, data.packed_row_count)


def kernel_bytes(config: TrainingConfig, texts: Texts, steps: int = 0) -> float:
    """After `steps` steps, all where 0."""
    if config.attn_implementation in ("sdpa", "eager"):
        return 0.0  # all rows are of one length
    size = config.per_device_train_batch_size
    readings = (steps or config.max_steps or MOST_KERNELS) * config.gradient_accumulation_steps
    # Few rows make few different micro-batches.
    sizes = min(float(readings), texts.row_count**2, SIZES)
    longest = min(2 * texts.tokens, config.max_length)
    lengths = min(max(0.0, longest - EXACT) / STRIDE, texts.count)
    read = readings * size * config.max_length / max(1.0, min(texts.tokens, config.max_length) / SPREAD)
    met = lengths * (1 - math.exp(-read / lengths)) if lengths else 0.0
    return KERNEL_BYTES * min(MOST_KERNELS, OF_SIZE[config.method] * sizes + OF_LENGTH * met)
