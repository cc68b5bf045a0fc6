"""What is trained: shapes of random weights, and texts of so many tokens. The same each time."""

import math
import random
from dataclasses import asdict, dataclass
from typing import Any

VOCABULARY = {"30M": 8_192, "135M": 49_152, "tiny": 512}
LONGEST = 512
MEAN = 90
SPREAD = 0.8  # standard deviation of the logarithm
EQUAL = 128


@dataclass(frozen=True)
class Task:
    """One training, for whoever does it."""

    shape: str
    method: str  # "full" | "lora"
    lengths: str  # "spread" | "equal"
    texts_per_step: int
    text_count: int = 2_000
    setting: str = ""  # of the contender, by its name for it
    workers: int = 1
    zero_stage: int = 0
    engine: str = "deepspeed"  # "deepspeed" | "plain"
    learning_rate: float = 3e-4

    def told(self) -> dict[str, Any]:
        return asdict(self)


def config_of(shape: str) -> Any:
    """Llama shapes: a small one, that of SmolLM 135M, and one to try the benchmark itself."""
    from transformers import LlamaConfig

    sizes = {
        "30M": {"hidden_size": 512, "intermediate_size": 1_536, "num_hidden_layers": 8, "heads": (8, 8)},
        "135M": {"hidden_size": 576, "intermediate_size": 1_536, "num_hidden_layers": 30, "heads": (9, 3)},
        "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "heads": (4, 4)},
    }[shape]
    heads, key_heads = sizes.pop("heads")
    return LlamaConfig(
        vocab_size=VOCABULARY[shape],
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        **sizes,
    )


def model_of(shape: str, implementation: str) -> Any:
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    config = config_of(shape)
    config._attn_implementation = implementation
    return LlamaForCausalLM(config)


def lengths(kind: str, count: int, seed: int = 1) -> list[int]:
    """Log-normal with a mean of 90 tokens and none over 512, or all of 128."""
    if kind == "equal":
        return [EQUAL] * count
    draw = random.Random(seed)
    middle = math.log(MEAN) - SPREAD**2 / 2
    return [min(LONGEST, max(8, round(draw.lognormvariate(middle, SPREAD)))) for _ in range(count)]


def texts(task: Task) -> list[list[int]]:
    """Walks over a graph of few ways, so that there is something to learn; token 0 pads and is in none."""
    draw = random.Random(2)
    size = VOCABULARY[task.shape]
    found = []
    for length in lengths(task.lengths, task.text_count):
        token = draw.randrange(1, size)
        text = []
        for _ in range(length):
            text.append(token)
            token = 1 + (token * 31 + draw.choice((7, 11, 13))) % (size - 1)
        found.append(text)
    return found
