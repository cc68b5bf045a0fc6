"""A model of 135 million random weights, and texts of so many tokens. The same each time."""

import random
from pathlib import Path
from typing import Any

from benchmarks.inference.contender import ROOT
from benchmarks.inference.limits import SHAPE_135M

WORDS = [
    "the",
    "a",
    "bralo",
    "cemid",
    "dovun",
    "fendar",
    "is",
    "was",
    "bigger",
    "smaller",
    "older",
    "than",
    "near",
    "and",
    "it",
    "one",
    "two",
    "they",
    "old",
    "bridge",
    "twice",
]
WINDOW = 65_536


def make_model(folder: Path) -> None:
    """As transformers stores it, with the bundled model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = SHAPE_135M
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "small")
    tokenizer.model_max_length = WINDOW
    tokenizer.save_pretrained(folder)


class Texts:
    """Sentences of made-up words, with as many tokens as are asked for, or one or two more."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._draw = random.Random(seed)

    def of(self, token_count: int) -> str:
        """With the mark that begins texts counted."""
        words: list[str] = []
        while self.count(" ".join(words)) < token_count:
            missing = token_count - self.count(" ".join(words))
            words += self._draw.choices(WORDS, k=max(1, missing // 3))
        while len(words) > 1 and self.count(" ".join(words[:-1])) >= token_count:
            words.pop()
        return " ".join(words)

    def question(self, token_count: int, choice_count: int, choice_tokens: int) -> tuple[str, list[str]]:
        """Choices differ from their first token on more often than not. They go on from the prompt: no mark begins them."""
        prompt = self.of(token_count)
        return prompt, [f" {self.of(choice_tokens + 1)}" for _ in range(choice_count)]

    def count(self, text: str) -> int:
        return len(self._tokenizer(text)["input_ids"])

    def count_further(self, text: str) -> int:
        """Of words that go on from a text, the space between them in the first of their tokens."""
        return len(self._tokenizer(text.strip(), add_special_tokens=False)["input_ids"])
