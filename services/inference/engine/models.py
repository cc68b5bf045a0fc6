"""Models in memory: weights once, adapters beside them. What is least recently used leaves when the bytes are needed."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from services.inference.engine.adapters import Adapter, load_adapter, open_to_adapters
from services.inference.engine.heads import Heads
from services.inference.engine.plain import shares_rows
from services.inference.engine.prefix import bytes_per_token
from services.inference.engine.sampling import Vocabulary
from services.inference.settings import InferenceSettings
from services.inference.wire import ModelRef

FolderOf = Callable[[ModelRef], Path]


@dataclass(eq=False)
class Weights:
    """A model in memory, for all adapters that stand on it. `shares_rows`: whether many sequences may be one row of tokens."""

    model: PreTrainedModel
    shares_rows: bool

    @cached_property
    def size_bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    @cached_property
    def bytes_per_token(self) -> int:
        return bytes_per_token(self.model.config, self.model.dtype)

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.get_input_embeddings().num_embeddings)


@dataclass(frozen=True)
class LoadedModel:
    ref: ModelRef
    weights: Weights
    tokenizer: Any
    adapter: Adapter | None
    vocabulary: Vocabulary
    heads: Heads = field(default_factory=Heads)

    @property
    def model(self) -> PreTrainedModel:
        return self.weights.model

    @property
    def shares_rows(self) -> bool:
        return self.weights.shares_rows

    @property
    def size_bytes(self) -> int:
        """Its own: the weights that an adapter shares are not counted again."""
        return self.adapter.size_bytes if self.adapter else self.weights.size_bytes

    @cached_property
    def end_ids(self) -> set[int]:
        """Tokens that end a text, by the generation settings and by the tokenizer."""
        ends = self.model.generation_config.eos_token_id if self.model.generation_config else None
        found = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        return {end for end in found if end is not None}

    @cached_property
    def schemas(self) -> Any:
        from services.inference.engine.schemas import Schemas

        return Schemas(self.tokenizer, self.weights.vocabulary_size)


class ModelStore:
    """Used by one thread. Weights leave memory when no adapter and no call holds them any longer."""

    def __init__(self, settings: InferenceSettings, folder_of: FolderOf) -> None:
        self._settings = settings
        self._folder_of = folder_of
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()

    def get(self, ref: ModelRef) -> LoadedModel:
        """The model of these bytes under the name that it was asked by."""
        if ref.key not in self._models:
            base = self.get(ref.base) if ref.base else None
            loaded = self._load(ref, base)
            self._models[ref.key] = loaded
            self._make_room()
        if ref.base and ref.base.key in self._models:
            self._models.move_to_end(ref.base.key)
        self._models.move_to_end(ref.key)
        found = self._models[ref.key]
        return found if found.ref == ref else replace(found, ref=ref)

    def _load(self, ref: ModelRef, base: LoadedModel | None) -> LoadedModel:
        folder = self._folder_of(ref)
        adapter = None
        if base and base.shares_rows:
            adapter = load_adapter(folder, base.model)
        if base and adapter:
            weights = base.weights
        else:
            weights = load_weights(
                self._folder_of(ref.base) if ref.base else folder,
                folder if ref.base else None,
                self._settings,
            )
        own = (folder / "tokenizer.json").exists()
        tokenizer = base.tokenizer if base and not own else read_tokenizer(folder)
        return LoadedModel(ref, weights, tokenizer, adapter, Vocabulary(tokenizer))

    def _make_room(self) -> None:
        """The newest stays, and so do the weights that it stands on."""
        for key in list(self._models)[:-1]:
            if self.used_bytes <= self._settings.model_bytes:
                return
            leaving = self._models.get(key)
            if leaving is None:
                continue
            if leaving.adapter:
                self._models.pop(key)
            elif leaving.weights is not next(reversed(self._models.values())).weights:
                # With weights go the adapters that stand on them.
                for other in [other for other, one in self._models.items() if one.weights is leaving.weights]:
                    self._models.pop(other)

    @property
    def used_bytes(self) -> int:
        return sum(model.size_bytes for model in self._models.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.ref.name for model in self._models.values())


def load_weights(folder: Path, adapter: Path | None, settings: InferenceSettings) -> Weights:
    """From safetensors only, no code from the checkpoint; with an adapter merged into them where one is given."""
    device, dtype = placement(settings)
    model = AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, dtype=getattr(torch, dtype)
    )
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    model = model.to(device).eval().requires_grad_(False)
    shares = shares_rows(model)
    if shares:
        open_to_adapters(model)
    return Weights(model, shares)


def read_tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def placement(settings: InferenceSettings) -> tuple[str, str]:
    """Device and number format of every model, with `auto` decided for this machine."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    return device, dtype


def compute_clock(device: str) -> Callable[[], float]:
    """Seconds that a thread has on its processor, whatever else runs beside it; on a GPU time as it goes."""
    return time.thread_time if device == "cpu" else time.perf_counter
