"""Models in memory. What is least recently used leaves when the bytes are needed."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from services.inference.forest import shares_rows
from services.inference.heads import Heads
from services.inference.settings import InferenceSettings
from services.inference.wire import ModelRef

FolderOf = Callable[[ModelRef], Path]


@dataclass(frozen=True)
class LoadedModel:
    """`shares_rows`: whether several sequences may share one row (see forest.shares_rows)."""

    ref: ModelRef
    model: PreTrainedModel
    tokenizer: Any
    shares_rows: bool
    size_bytes: int
    heads: Heads = field(default_factory=Heads)

    @property
    def end_ids(self) -> set[int]:
        """Tokens that end a text, by the generation settings and by the tokenizer."""
        ends = self.model.generation_config.eos_token_id if self.model.generation_config else None
        found = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        return {end for end in found if end is not None}


class ModelStore:
    def __init__(self, settings: InferenceSettings, folder_of: FolderOf) -> None:
        self._settings = settings
        self._folder_of = folder_of
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()

    def get(self, ref: ModelRef) -> LoadedModel:
        """The model of these bytes under the name that it was asked by."""
        if ref.key not in self._models:
            loaded = load(ref, self._folder_of, self._settings)
            while self._models and self._used() + loaded.size_bytes > self._settings.model_bytes:
                self._models.popitem(last=False)
            self._models[ref.key] = loaded
        self._models.move_to_end(ref.key)
        return replace(self._models[ref.key], ref=ref)

    def _used(self) -> int:
        return sum(model.size_bytes for model in self._models.values())


def load(ref: ModelRef, folder_of: FolderOf, settings: InferenceSettings) -> LoadedModel:
    """Weights from safetensors only, no code from the checkpoint. An adapter is merged into a copy of its base."""
    folder = folder_of(ref)
    weights_folder = folder_of(ref.base) if ref.base else folder
    device, dtype = placement(settings)
    model = AutoModelForCausalLM.from_pretrained(
        weights_folder, use_safetensors=True, trust_remote_code=False, dtype=getattr(torch, dtype)
    )
    if ref.base:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    model = model.to(device).eval()
    tokenizer_folder = folder if (folder / "tokenizer.json").exists() else weights_folder
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, trust_remote_code=False)
    size_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    return LoadedModel(ref, model, tokenizer, shares_rows(model), size_bytes)


def placement(settings: InferenceSettings) -> tuple[str, str]:
    """Device and number format of every model, with `auto` decided for this machine."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    return device, dtype


def compute_clock(loaded: LoadedModel) -> Callable[[], float]:
    """Seconds that the engine's thread has on its processor, whatever else runs beside it; on a GPU time as it goes."""
    return time.thread_time if loaded.model.device.type == "cpu" else time.perf_counter
