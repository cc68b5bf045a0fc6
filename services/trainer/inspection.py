"""What a folder of files is, found out without torch: safetensors headers and JSON only, nothing is executed.

Refuses what cannot be trained and served: no causal language model, no safetensors, a missing shard, no fast tokenizer;
and anything that could be a pickle, whatever its name.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servicekit.errors import Invalid

CAUSAL_LM = ("ForCausalLM", "LMHeadModel")
PICKLE_NAMES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz")
# Protocol 2 and later begin so; torch.save writes a zip of pickles; legacy tar files are no better.
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"PK\x05\x06")
TEXT_NAMES = (".json", ".txt", ".jinja", ".md")
HEADER_LIMIT_BYTES = 100 << 20
WINDOW_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")
# Which tensor a tied output head shares; checkpoints may or may not store the copy.
HEAD_NAMES = ("lm_head.weight", "embed_out.weight", "output.weight")


@dataclass(frozen=True)
class Inspection:
    """What the files say about the model."""

    architecture: str
    parameter_count: int
    context_window: int  # 0 where the configuration does not say
    chat_template: bool
    domain: str
    layer_count: int
    hidden_size: int
    vocabulary_size: int


def inspect_folder(folder: Path) -> Inspection:
    """Invalid says which file is wrong and what would be right."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        refuse_pickle(path)
    config = read_config(folder)
    architecture = causal_architecture(config)
    tensors = read_tensors(folder)
    if not (folder / "tokenizer.json").is_file():
        raise Invalid(
            "NO_TOKENIZER",
            "There is no tokenizer.json. Save the fast tokenizer beside the model "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(folder)).",
            field="tokenizer.json",
        )
    read_json(folder / "tokenizer.json", "NO_TOKENIZER", "")
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    return Inspection(
        architecture=architecture,
        parameter_count=count_parameters(tensors, bool(config.get("tie_word_embeddings"))),
        context_window=next((int(text[key]) for key in WINDOW_KEYS if text.get(key)), 0),
        chat_template=has_chat_template(folder),
        domain=read_domain(folder),
        layer_count=int(text.get("num_hidden_layers") or text.get("n_layer") or 0),
        hidden_size=int(text.get("hidden_size") or text.get("n_embd") or 0),
        vocabulary_size=int(text.get("vocab_size") or 0),
    )


def refuse_pickle(path: Path) -> None:
    """By name, by how the file begins, and by being no text where text is expected."""
    with path.open("rb") as file:
        start = file.read(4096)
    named = path.name.lower().endswith(PICKLE_NAMES)
    begins = start.startswith(PICKLE_STARTS) or start[257:262] == b"ustar"
    # Protocol 0 and 1 have no mark; a NUL byte or an opening `c`/`(` in a JSON file gives them away there.
    binary_text = path.suffix in TEXT_NAMES and b"\0" in start
    if named or begins or binary_text:
        raise not_safetensors(path.name)


def not_safetensors(name: str) -> Invalid:
    return Invalid(
        "NOT_SAFETENSORS",
        f"{name} is or may be a pickle, which can run code when read. "
        "Only safetensors weights are taken; convert with save_pretrained(folder) and leave this file out.",
        field=name,
    )


def read_config(folder: Path) -> dict[str, Any]:
    return read_json(folder / "config.json", "NO_CONFIG", "a transformers model has a config.json")


def read_json(path: Path, reason: str, hint: str) -> dict[str, Any]:
    if not path.is_file():
        raise Invalid(reason, f"There is no {path.name}; {hint}.", field=path.name)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise Invalid(reason, f"{path.name} is not JSON: {error}.", field=path.name) from None
    if not isinstance(value, dict):
        raise Invalid(reason, f"{path.name} is not a JSON object.", field=path.name)
    return value


def causal_architecture(config: dict[str, Any]) -> str:
    names = config.get("architectures")
    architecture = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    if not architecture.endswith(CAUSAL_LM):
        raise Invalid(
            "NO_CAUSAL_LM",
            f"config.json names the architecture {architecture or '(none)'}; only causal language models "
            "(...ForCausalLM) can be trained and asked.",
            field="config.json.architectures",
            architecture=architecture,
        )
    if config.get("auto_map"):
        raise Invalid(
            "CUSTOM_CODE",
            "config.json asks for code of its own (auto_map); only architectures of the transformers library are run.",
            field="config.json.auto_map",
        )
    return architecture


def read_tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name over all shards."""
    index_path = folder / "model.safetensors.index.json"
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    if index_path.is_file():
        weight_map = read_json(index_path, "NOT_SAFETENSORS", "").get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise Invalid("NOT_SAFETENSORS", f"{index_path.name} has no weight_map.", field=index_path.name)
        wanted = sorted(set(weight_map.values()))
        for name in wanted:
            if name not in shards:
                raise Invalid(
                    "MISSING_SHARD",
                    f"{index_path.name} names {name}, which is not there; {len(wanted)} files belong to the model.",
                    field=str(name),
                    shard=name,
                )
        tensors = {name: shape for shard in wanted for name, shape in read_header(folder / shard).items()}
        if lost := sorted(set(weight_map) - set(tensors)):
            raise Invalid(
                "MISSING_SHARD",
                f"{len(lost)} tensors of the index are in no file, e.g. {lost[0]}.",
                field=index_path.name,
                tensor=lost[0],
            )
        return tensors
    if "model.safetensors" in shards:
        return read_header(folder / "model.safetensors")
    if any("-of-" in name for name in shards):
        raise Invalid(
            "MISSING_SHARD",
            "The weights are in several files, but model.safetensors.index.json is not there.",
            field=index_path.name,
        )
    raise Invalid(
        "NOT_SAFETENSORS",
        "There is no model.safetensors. Save the model with save_pretrained(folder).",
        field="model.safetensors",
    )


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name; checks that the header is sound and that the file is as long as it says."""

    def broken(what: str) -> Invalid:
        return Invalid(
            "NOT_SAFETENSORS", f"{path.name} is no whole safetensors file: {what}.", field=path.name
        )

    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise broken("it is shorter than a header")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(HEADER_LIMIT_BYTES, size - 8):
            raise broken("its header is longer than the file")
        try:
            header = json.loads(file.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in tensors.items()}
            end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, UnicodeDecodeError):
            raise broken("its header cannot be read") from None
    if size != 8 + length + end:
        raise broken(f"it has {size} bytes and its header speaks of {8 + length + end}")
    return shapes


def count_parameters(tensors: dict[str, tuple[int, ...]], tied: bool) -> int:
    """All tensors' elements; a stored copy of a tied output head is not counted again."""
    return sum(
        math.prod(shape) for name, shape in tensors.items() if not (tied and name.endswith(HEAD_NAMES))
    )


def has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(read_json(path, "NO_TOKENIZER", "").get("chat_template"))


def read_domain(folder: Path) -> str:
    """What the model can read where that is narrow; told by an `ingrain.json` beside the weights."""
    path = folder / "ingrain.json"
    return str(read_json(path, "BAD_INGRAIN_JSON", "").get("domain", "")) if path.is_file() else ""
