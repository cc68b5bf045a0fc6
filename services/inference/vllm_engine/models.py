"""What texts of a model need on their way in and out, and what reading and writing them is reckoned at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servicekit.costs import forward_flops
from servicekit.errors import Invalid, NotFound, WrongState
from servicekit.model_files import MANIFEST, digest, read_manifest
from servicekit.storage import open_storage
from services.inference.engine.files import fetch
from services.inference.engine.heads import Heads
from services.inference.engine.render import Renderer
from services.inference.engine.sampling import Vocabulary
from services.inference.settings import InferenceSettings
from services.inference.wire import ModelRef, Spent


@dataclass(frozen=True)
class Loaded:
    """`lora`: vLLM's LoRARequest; None of a base model."""

    ref: ModelRef
    renderer: Renderer
    vocabulary: Vocabulary
    lora: Any


async def base_folder(settings: InferenceSettings) -> Path:
    """The base model's files on this machine, fetched from the platform's storage and checked by its manifest."""
    uri = settings.vllm_model.rstrip("/")
    storage = open_storage(settings)
    try:
        manifest = await read_manifest(storage, storage.key(uri))
    except (NotFound, Invalid):
        raise WrongState(
            "NO_VLLM_MODEL",
            f"INGRAIN_VLLM_MODEL is {uri!r}, where no model of this platform lies: a folder with {MANIFEST} in {storage.root}, "
            "not one whose files stayed elsewhere",
        ) from None
    model = ModelRef(uri, digest(manifest.files), uri, False, 0, 0, 0, 0)
    return await fetch(storage, model, settings.scratch / "models", settings)


def is_weights(name: str) -> bool:
    """vLLM has these already."""
    return name.endswith((".safetensors", ".bin", ".pt", ".gguf"))


def tokenizer_of(folder: Path) -> tuple[Any, Heads, Vocabulary]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer, Heads(), Vocabulary(tokenizer)


def require_room(model: ModelRef, token_count: int, field: str) -> None:
    if token_count > model.context_window:
        raise Invalid(
            "PROMPT_TOO_LONG",
            f"{field} has {token_count} tokens with its context and {model.name} can take {model.context_window}",
            field=field,
            token_count=token_count,
            context_window=model.context_window,
        )


def account(
    spent: Spent, model: ModelRef, read: int, cached: int, written: int, *, computed: int | None = None
) -> None:
    """`computed`: tokens that went through the model, where they are not those that were not cached. vLLM does not say what
    share of a batch's seconds a request had; they stay 0."""
    spent.prompt_tokens += read
    spent.cached_tokens += cached
    spent.generated_tokens += written
    if computed is None:
        computed = read - cached + max(0, written - 1)
    spent.flops += forward_flops(
        model.parameter_count, model.layer_count, model.hidden_size, computed, cached
    )
