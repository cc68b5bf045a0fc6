"""Small random models of several architectures, with a tokenizer made here, stored as the trainer stores them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
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

from servicekit.storage import open_storage
from services.inference.engine import Engine
from services.inference.settings import InferenceSettings
from services.inference.wire import ModelRef

SHAPE = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
GROUPED = SHAPE | {"num_key_value_heads": 2}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "qwen3": Qwen3Config(**GROUPED, head_dim=16),
    "mistral": MistralConfig(**GROUPED, sliding_window=None),
    "gemma": GemmaConfig(**GROUPED, head_dim=16),
    "phi": PhiConfig(**SHAPE),
    "gpt2": GPT2Config(vocab_size=400, n_embd=64, n_layer=2, n_head=4, n_positions=512),
    # Sliding windows: rows cannot be shared.
    "gemma3": Gemma3TextConfig(**GROUPED, head_dim=16, sliding_window=8),
}
TEXT = [
    "the bralo is bigger than the cemid.",
    "a dovun was seen near the old bridge, twice.",
    "which tools are there?",
]


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


@pytest.fixture(scope="session")
def stored(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[ModelRef, Path, InferenceSettings]]:
    """An architecture's name -> its ModelRef, its folder, and settings whose storage holds it."""
    root = tmp_path_factory.mktemp("inference")
    settings = InferenceSettings(storage=f"file://{root / 'storage'}", scratch=root / "scratch")
    storage = open_storage(settings)
    made: dict[str, tuple[ModelRef, Path, InferenceSettings]] = {}

    def make(name: str) -> tuple[ModelRef, Path, InferenceSettings]:
        if name not in made:
            torch.manual_seed(len(name))
            config = CONFIGS[name]
            model = AutoModelForCausalLM.from_config(config)
            # Random weights of the usual size say almost the same of every token; larger ones tell them apart.
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.dim() > 1:
                        parameter.mul_(4.0)
            folder = root / name
            model.save_pretrained(folder)
            make_tokenizer().save_pretrained(folder)
            prefix = f"projects/p/models/{name}/a"
            files = []
            for path in sorted(folder.iterdir()):
                target = root / "storage" / prefix / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                files.append({"name": path.name, "size_bytes": path.stat().st_size, "sha256": sha256})
            (root / "storage" / prefix / "manifest.json").write_text(json.dumps({"files": files}))
            count = sum(parameter.numel() for parameter in model.parameters())
            ref = ModelRef(
                f"projects/p/models/{name}", f"sha-{name}", storage.uri(prefix), False, 512, count, 2, 64
            )
            made[name] = (ref, folder, settings)
        return made[name]

    return make


@pytest.fixture
def engine(stored: Callable[[str], tuple[ModelRef, Path, InferenceSettings]]) -> Engine:
    return Engine(stored("llama")[2])
