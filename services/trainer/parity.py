"""What the trained model says of fixed tokens, so that inference can be asked for the same (legend: T tokens of a text, V vocabulary).

Needs torch; the comparison itself is in `verifying`, which does not.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.trainer.config import TrainingConfig
from services.trainer.data import TrainingRows

MOST_TEXTS = 8
MOST_TOKENS = 512
Logprobs = list[list[float]]


def fixed_tokens(arrays: dict[str, np.ndarray]) -> list[list[int]]:
    """The first texts of the first training rows, each as it would be read by itself: at most 8 of 512 tokens together."""
    texts: list[list[int]] = []
    left = MOST_TOKENS
    for ids_L, positions_L, count in zip(
        arrays["input_ids_RL"], arrays["position_ids_RL"], arrays["token_count_R"], strict=True
    ):
        starts = [*np.flatnonzero(positions_L[:count] == 0).tolist(), int(count)]
        for start, end in itertools.pairwise(starts):
            text = ids_L[start : min(end, start + left)].tolist()
            # The first token of a text has no probability.
            if len(text) > 1:
                texts.append(text)
                left -= len(text)
            if len(texts) == MOST_TEXTS or left < 2:
                return texts
    return texts


def fixed_logprobs(engine: Any, config: TrainingConfig, data: TrainingRows) -> dict[str, Any]:
    """What `result.json` says under `parity`: `tokens`, for each text the `logprobs` of all tokens but the first in nats, and the
    `dtype` of the weights. A collective: with ZeRO stage 3 every worker computes its share of each layer."""
    tokens = fixed_tokens(data.arrays)
    model = engine.module
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    whole = dtypes <= {torch.float32} and not needs_autocast(model)
    return {
        "tokens": tokens,
        "logprobs": logprobs(model, tokens, engine.device),
        "dtype": "float32" if whole else "bfloat16",
    }


def needs_autocast(model: Any) -> bool:
    """FlashAttention knows no float32."""
    return str(getattr(model.config, "_attn_implementation", "")).startswith("flash")


def logprobs(model: Any, texts: Sequence[Sequence[int]], device: torch.device) -> Logprobs:
    """Without dropout, without autocast where that can be, each text alone."""
    training = model.training
    model.eval()
    try:
        with (
            torch.no_grad(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=needs_autocast(model)),
        ):
            return [text_logprobs(model, text, device) for text in texts]
    finally:
        model.train(training)


def text_logprobs(model: Any, text: Sequence[int], device: torch.device) -> list[float]:
    ids_T = torch.tensor(text, device=device)
    logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[0, :-1].float()
    found_T = logits_TV.log_softmax(-1).gather(1, ids_T[1:, None])[:, 0]
    found: list[float] = found_T.tolist()
    return found


def greatest_difference(left: Logprobs, right: Logprobs) -> float:
    """In nats; not a number where one of them is none."""
    pairs = [(a, b) for one, other in zip(left, right, strict=True) for a, b in zip(one, other, strict=True)]
    return float(np.max(np.abs([a - b for a, b in pairs]))) if pairs else 0.0


def adapter_on_base(base: Path, adapter: Path) -> Any:
    """The exported adapter on the base model, both in float32, as peft loads them."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return PeftModel.from_pretrained(model, adapter).eval()
