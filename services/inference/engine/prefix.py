"""Contexts' keys and values, within a budget of bytes in memory and another on disk.

What is least recently used leaves memory for the disk, and comes back from there; what is nowhere is computed again. Files are
named by what they hold, so that replicas on one machine share them and a new process finds them.
"""

import hashlib
import json
import os
import tempfile
from array import array
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from servicekit.errors import Exhausted
from services.inference.engine.attention import Layers
from services.inference.wire import Spent

log = structlog.get_logger()


@dataclass(frozen=True)
class Held:
    """A context that was read. `reading`: what computing it took, once."""

    ids: list[int]
    layers: Layers
    reading: Spent

    @property
    def size_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in [*self.layers.keys, *self.layers.values])


@dataclass(frozen=True)
class Prefix:
    """The first `length` tokens that a sequence shares with others (none: nothing is shared)."""

    held: Held | None
    length: int


NOTHING = Prefix(None, 0)


def key_of(model_key: str, dtype: str, ids: list[int]) -> str:
    """Of the keys and values of these tokens by these weights: nothing else is ever found under it."""
    return hashlib.sha256(f"{model_key} {dtype} ".encode() + array("q", ids).tobytes()).hexdigest()


class PrefixStore:
    """Used by one thread."""

    def __init__(self, budget_bytes: int, folder: Path, spill_bytes: int, device: str) -> None:
        self.budget_bytes = budget_bytes
        self._device = device
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._pinned: set[str] = set()
        self._disk = Disk(folder, spill_bytes)

    def find(self, key: str, ids: list[int]) -> Held | None:
        """From memory or disk."""
        if key not in self._held:
            loaded = self._disk.load(key, ids, self._device)
            if loaded is None:
                return None
            self._keep(key, loaded)
            return loaded
        self._held.move_to_end(key)
        return self._held[key]

    def put(self, key: str, held: Held) -> None:
        self._keep(key, held)

    def require_room(self, size_bytes: int, *, pinned: bool = False) -> None:
        """Refuses what could not be kept, before it is computed."""
        if size_bytes > self.budget_bytes:
            raise Exhausted(
                "CACHE_TOO_SMALL",
                f"the context's keys and values take {size_bytes} bytes and a replica keeps {self.budget_bytes}; "
                "take fewer documents, or raise INGRAIN_CACHE_BYTES",
                needed_bytes=size_bytes,
                cache_bytes=self.budget_bytes,
            )
        if pinned and self.pinned_bytes + size_bytes > self.budget_bytes:
            raise Exhausted(
                "NO_ROOM_TO_PIN",
                f"{size_bytes} bytes are to be pinned beside {self.pinned_bytes} of at most {self.budget_bytes}; delete "
                "a pinned context, or raise INGRAIN_CACHE_BYTES",
                needed_bytes=size_bytes,
                pinned_bytes=self.pinned_bytes,
                cache_bytes=self.budget_bytes,
            )

    def has_room_to_pin(self, key: str, held: Held) -> bool:
        return key in self._pinned or self.pinned_bytes + held.size_bytes <= self.budget_bytes

    def pin(self, key: str, held: Held) -> None:
        """It stays, until it is forgotten."""
        if key not in self._pinned:
            self.require_room(held.size_bytes, pinned=True)
            self._pinned.add(key)
            self._keep(key, held)

    def forget(self, key: str) -> None:
        self._pinned.discard(key)
        self._held.pop(key, None)
        self._disk.remove(key)

    def _keep(self, key: str, held: Held) -> None:
        """Pinned ones stay; where nothing else can leave, the newest does not stay."""
        self._held[key] = held
        self._held.move_to_end(key)
        for old in [old for old in self._held if old not in self._pinned]:
            if self.used_bytes <= self.budget_bytes:
                return
            self._disk.save(old, self._held.pop(old))

    @property
    def used_bytes(self) -> int:
        return sum(held.size_bytes for held in self._held.values())

    @property
    def pinned_bytes(self) -> int:
        return sum(self._held[key].size_bytes for key in self._pinned if key in self._held)

    @property
    def count(self) -> int:
        return len(self._held)

    @property
    def spilled(self) -> tuple[int, int]:
        """Contexts and bytes on disk."""
        return self._disk.used()


class Disk:
    """One file for each context; those longest not used go when the bytes are needed."""

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self._folder = folder
        self._budget_bytes = budget_bytes

    def save(self, key: str, held: Held) -> None:
        target = self._path(key)
        if held.size_bytes > self._budget_bytes or target.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for index, (keys, values) in enumerate(zip(held.layers.keys, held.layers.values, strict=True)):
            tensors[f"{index}.keys"], tensors[f"{index}.values"] = keys.contiguous(), values.contiguous()
        note = json.dumps([held.reading.prompt_tokens, held.reading.flops, held.reading.compute_s])
        try:
            self._make_room(held.size_bytes)
            descriptor, name = tempfile.mkstemp(prefix=".spill-", dir=self._folder)
            os.close(descriptor)
            try:
                save_file(tensors, name, metadata={"reading": note})
                Path(name).rename(target)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:  # a full disk costs a computation, no answer
            log.warning("context_not_spilled", problem=str(error))

    def load(self, key: str, ids: list[int], device: str) -> Held | None:
        path = self._path(key)
        try:
            with safe_open(path, "pt", device=device) as file:
                count = len(file.keys()) // 2
                keys = [file.get_tensor(f"{index}.keys") for index in range(count)]
                values = [file.get_tensor(f"{index}.values") for index in range(count)]
                tokens, flops, seconds = json.loads(file.metadata()["reading"])
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("spilled_context_unreadable", problem=str(error))
            path.unlink(missing_ok=True)
            return None
        return Held(ids, Layers(keys, values), Spent(prompt_tokens=tokens, flops=flops, compute_s=seconds))

    def remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def used(self) -> tuple[int, int]:
        sizes = [size for _, size, _ in self._files()]
        return len(sizes), sum(sizes)

    def _make_room(self, size_bytes: int) -> None:
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used + size_bytes <= self._budget_bytes:
                return
            path.unlink(missing_ok=True)
            used -= size

    def _files(self) -> list[tuple[float, int, Path]]:
        """When last used, bytes, path; another replica may take any away meanwhile."""
        found = []
        for path in self._folder.glob("*.safetensors"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found.append((stat.st_mtime, stat.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"


def bytes_per_token(config: object, dtype: torch.dtype) -> int:
    """Of keys and values over all layers, by the shape that a configuration states."""
    get = getattr(config, "get_text_config", None)
    shape = get() if get else config
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads  # type: ignore[attr-defined]
    size = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads  # type: ignore[attr-defined]
    layers: int = shape.num_hidden_layers  # type: ignore[attr-defined]
    return 2 * layers * heads * size * dtype.itemsize
