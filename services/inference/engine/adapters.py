"""LoRA adapters beside weights that they share: each token of a pass goes through the adapter of its sequence.

An adapter adds `scale * B A x` to the output of a linear layer (Hu et al. 2021, arXiv 2106.09685). Nothing is merged, so that one copy of
the base serves all adapters, of any ranks, in one pass. Adapters that do more (DoRA, biases, trained embeddings) are merged into a copy of
their base by peft instead.
"""

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Low:
    """Of one layer: down (rank, in), up (out, rank), scale included."""

    down: torch.Tensor
    up: torch.Tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """Of each layer's name in the base."""

    layers: dict[str, Low]

    @property
    def size_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for low in self.layers.values() for t in (low.down, low.up))


def load_adapter(folder: Path, model: torch.nn.Module) -> Adapter | None:
    """None for one that has to be merged."""
    config = LoraConfig.from_pretrained(str(folder))
    raw = json.loads((folder / "adapter_config.json").read_text())
    if raw.get("peft_type") != "LORA" or config.use_dora or config.bias != "none" or config.modules_to_save:
        return None
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    downs: dict[str, torch.Tensor] = {}
    ups: dict[str, torch.Tensor] = {}
    for key, tensor in load_file(folder / WEIGHTS).items():
        name, _, which = key.removeprefix(PREFIX).rpartition(".lora_")
        if name not in linear or which not in ("A.weight", "B.weight"):
            return None
        weight = linear[name].weight
        (downs if which == "A.weight" else ups)[name] = tensor.to(weight.device, weight.dtype)
    if downs.keys() != ups.keys():
        return None
    return Adapter({name: Low(down, ups[name] * scale_of(config, name)) for name, down in downs.items()})


def scale_of(config: LoraConfig, name: str) -> float:
    """`alpha / r`, with rsLoRA `alpha / sqrt(r)` (arXiv 2312.03732); both may be set for some layers apart."""
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    rank = ranks.get(get_pattern_key(ranks.keys(), name), config.r)
    alpha = alphas.get(get_pattern_key(alphas.keys(), name), config.lora_alpha)
    return float(alpha / (rank**0.5 if config.use_rslora else rank))


Rows = list[tuple[int, int, Adapter]]  # begin and end of the rows of a pass that go through an adapter

_now = threading.local()


class adapting:
    """The rows inside go through their adapters."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __enter__(self) -> None:
        _now.rows = self._rows

    def __exit__(self, *_: object) -> None:
        _now.rows = []


def open_to_adapters(model: torch.nn.Module) -> None:
    """Lets every linear layer add what the adapters of a pass say; without adapters it costs a look."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(_added(name))


def _added(name: str) -> Any:
    def add(module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        rows: Rows = getattr(_now, "rows", [])
        for begin, end, adapter in rows:
            low = adapter.layers.get(name)
            if low is not None:
                out[..., begin:end, :] += (given[0][..., begin:end, :] @ low.down.T) @ low.up.T
        return out

    return add
