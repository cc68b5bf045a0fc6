"""A decoder's shape, from its `config.json` and its size: what memory and operations follow from."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingrain.v1 import trainer_pb2
from servicekit.storage import Storage
from services.trainer import files
from services.trainer.settings import TrainerSettings

# Names that architectures have for the same thing.
WIDTH = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
HEADS = ("num_attention_heads", "n_head")
INNER = ("intermediate_size", "n_inner", "ffn_dim")
STORED_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Shape:
    """Widths in values; `query_size` and `key_value_size` are all heads together."""

    parameter_count: int  # tied ones once
    layer_count: int
    hidden_size: int
    inner_size: int
    query_size: int
    key_value_size: int
    head_count: int
    vocabulary_size: int
    tied: bool  # the head's weights are the input embedding's
    inner_matrices: int  # of one feed-forward block: 3 where it is gated, else 2
    stored_bytes: int = 4  # of one weight in the model's files

    @property
    def linear_count(self) -> int:
        """Weights of the layers' matrices, which adapters and autocast copies are of."""
        attention = 2 * self.hidden_size * (self.query_size + self.key_value_size)
        return self.layer_count * (attention + self.inner_matrices * self.hidden_size * self.inner_size)

    def adapter_count(self, rank: int, target_modules: Sequence[str], dora: bool) -> int:
        """Parameters of rank-`rank` adapters; on all linear ones where no modules are named."""
        width, inner, query, pair = self.hidden_size, self.inner_size, self.query_size, self.key_value_size
        sides = {
            "q_proj": (width, query),
            "k_proj": (width, pair),
            "v_proj": (width, pair),
            "o_proj": (query, width),
            "up_proj": (width, inner),
            "down_proj": (inner, width),
        }
        if self.inner_matrices > 2:
            sides["gate_proj"] = (width, inner)
        named = [name.rsplit(".", 1)[-1] for name in target_modules]
        if named and named != ["all-linear"]:
            mean = (sum(a for a, _ in sides.values()) // len(sides), width)
            sides = {name: sides.get(name, mean) for name in named}
        each = sum(rank * (into + out) + (out if dora else 0) for into, out in sides.values())
        return self.layer_count * each


def shape_from(config: Mapping[str, Any], base: trainer_pb2.Model) -> Shape:
    """`config`: the model's `config.json`. What it does not say is taken as a Llama of the model's size would have it."""
    config = {**config, **config.get("text_config", {})}

    def first(names: Sequence[str], default: int) -> int:
        return next((int(config[name]) for name in names if config.get(name)), default)

    width = first(WIDTH, base.hidden_size or 1)
    layers = first(LAYERS, base.layer_count or 1)
    inner = first(INNER, 4 * width)
    heads = first(HEADS, max(1, width // 64))
    head = first(("head_dim",), width // heads)
    pair = first(("num_key_value_heads", "n_head_kv"), heads) * head
    vocabulary = first(("vocab_size",), 32_000)
    tied = bool(config.get("tie_word_embeddings", True))
    count = base.parameter_count or 12 * layers * width * width + vocabulary * width
    blocks = count - vocabulary * width * (1 if tied else 2) - 2 * layers * width * (heads * head + pair)
    matrices = max(2, round(blocks / (layers * width * inner)))
    return Shape(
        parameter_count=count,
        layer_count=layers,
        hidden_size=width,
        inner_size=inner,
        query_size=heads * head,
        key_value_size=pair,
        head_count=heads,
        vocabulary_size=vocabulary,
        tied=tied,
        inner_matrices=matrices,
        stored_bytes=STORED_BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), 4),
    )


async def shape_of(base: trainer_pb2.Model, storage: Storage, settings: TrainerSettings) -> Shape:
    """Reads the base model's `config.json` where it has files."""
    config: Mapping[str, Any] = {}
    if base.uri:
        settings.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="shape-", dir=settings.scratch) as name:
            home, folder = files.home(storage, base), Path(name) / "model"
            await files.fetch(storage, home, folder, lambda file: file == "config.json", settings)
            config = json.loads((folder / "config.json").read_text())
    return shape_from(config, base)
