"""Small random models of several architectures, with a tokenizer made here, stored as the trainer stores them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from services.inference.settings import InferenceSettings
from services.inference.wire import ModelRef

WINDOW = 512
SHAPE = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": WINDOW,
}
GROUPED = SHAPE | {"num_key_value_heads": 2}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**SHAPE),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=16),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=None),
    "gemma": lambda: GemmaConfig(**GROUPED, head_dim=16),
    "phi": lambda: PhiConfig(**SHAPE),
    "gpt2": lambda: GPT2Config(vocab_size=400, n_embd=64, n_layer=2, n_head=4, n_positions=WINDOW),
    # Rows cannot be shared: a window that short prompts show, one that they do not, a rotation that changes.
    "gemma3": lambda: Gemma3TextConfig(**GROUPED, head_dim=16, sliding_window=8),
    "mistral-sliding": lambda: MistralConfig(**GROUPED, sliding_window=64),
    "llama-dynamic": lambda: LlamaConfig(
        **SHAPE, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    ),
}
TEXT = [
    "the bralo is bigger than the cemid.",
    "a dovun was seen near the old bridge, twice.",
    "which tools are there?",
]
CHAT = (
    "{% for message in messages %}<{{ message.role }}>\n{{ message.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """A model's description, its files as transformers reads them, and settings whose storage holds them."""

    ref: ModelRef
    folder: Path
    settings: InferenceSettings


def make_tokenizer(chat: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")
    if chat:
        made.chat_template = CHAT
    return made


def make_model(folder: Path, architecture: str, seed: int = 0, chat: bool = False) -> Any:
    """Random weights of the usual size say almost the same of every token; larger ones tell them apart."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[architecture]())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    make_tokenizer(chat).save_pretrained(folder)
    return model


def make_adapter(folder: Path, base: Any, seed: int = 0) -> None:
    """A LoRA adapter that changes what the base says."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    adapted.save_pretrained(folder)


def publish(folder: Path, storage: Path, prefix: str) -> tuple[str, str]:
    """Copies the files into a folder storage beside their manifest; their uri and digest."""
    target = storage / prefix
    target.mkdir(parents=True)
    files = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        raw = path.read_bytes()
        (target / path.name).write_bytes(raw)
        files.append({"name": path.name, "size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()})
    (target / "manifest.json").write_text(json.dumps({"files": files}))
    lines = "".join(f"{file['name']} {file['sha256']}\n" for file in files)
    return f"file://{storage}/{prefix}", hashlib.sha256(lines.encode()).hexdigest()


def describe(name: str, uri: str, sha256: str, chat: bool = False, base: ModelRef | None = None) -> ModelRef:
    return ModelRef(f"projects/p/models/{name}", sha256, uri, chat, WINDOW, 100_000, 2, 64, base)
