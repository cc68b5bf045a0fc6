"""Contexts' keys and values, kept within a byte budget; what a batch of prompts shares with one of them."""

from collections import OrderedDict
from dataclasses import dataclass

from transformers import DynamicCache, PreTrainedModel

from servicekit.costs import forward_flops
from services.inference.forest import read, share
from services.inference.models import LoadedModel, compute_clock
from services.inference.render import Renderer, common_prefix
from services.inference.wire import ContextRef, ModelRef, Spent


@dataclass(frozen=True)
class Held:
    """`reading`: what computing it took, once."""

    ids: list[int]
    cache: DynamicCache
    reading: Spent

    @property
    def size_bytes(self) -> int:
        return sum(
            t.numel() * t.element_size() for layer in self.cache.layers for t in (layer.keys, layer.values)
        )


@dataclass(frozen=True)
class Prefix:
    """The first `length` tokens that all sequences of a call share, and their cache (None: nothing is shared)."""

    held: Held | None
    length: int

    def cache(self, model: PreTrainedModel) -> DynamicCache | None:
        return share(self.held.cache, model, self.length) if self.held and self.length else None

    def account(self, ref: ModelRef, sequence_count: int, new_count: int, spent: Spent) -> None:
        """`new_count` tokens were computed for `sequence_count` sequences; the prefix was there for each of them."""
        spent.prompt_tokens += new_count + self.length * sequence_count
        spent.cached_tokens += self.length * sequence_count
        each = new_count / sequence_count
        looked_at = int(self.length + each / 2)
        spent.flops += new_count * forward_flops(
            ref.parameter_count, ref.layer_count, ref.hidden_size, 1, looked_at
        )


NOTHING = Prefix(None, 0)


class PrefixStore:
    """Least recently used contexts leave when the bytes are needed; a miss computes them again."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()

    def hold(self, loaded: LoadedModel, renderer: Renderer, context: ContextRef, spent: Spent) -> Held:
        """The context's keys and values; computing them is charged to whoever caused it."""
        key = (loaded.ref.key, context.sha256)
        if key not in self._held:
            held = self._read(loaded, renderer.context(context.text))
            spent.prompt_tokens += held.reading.prompt_tokens
            spent.flops += held.reading.flops
            while self._held and self._used() + held.size_bytes > self._budget_bytes:
                self._held.popitem(last=False)
            self._held[key] = held
        self._held.move_to_end(key)
        return self._held[key]

    def forget(self, context_sha256: str) -> None:
        for key in [key for key in self._held if key[1] == context_sha256]:
            del self._held[key]

    def prefix_of(
        self,
        loaded: LoadedModel,
        renderer: Renderer,
        context: ContextRef | None,
        sequences: list[list[int]],
        spent: Spent,
    ) -> Prefix:
        """What `sequences` share with the context; each keeps at least one token of its own."""
        if context is None or not loaded.shares_rows:
            return NOTHING
        held = self.hold(loaded, renderer, context, spent)
        length = min(min(common_prefix(held.ids, ids), len(ids) - 1) for ids in sequences)
        return Prefix(held, length)

    def _read(self, loaded: LoadedModel, ids: list[int]) -> Held:
        ref, clock = loaded.ref, compute_clock(loaded)
        started = clock()
        cache = read(loaded.model, ids)
        flops = forward_flops(ref.parameter_count, ref.layer_count, ref.hidden_size, len(ids))
        reading = Spent(prompt_tokens=len(ids), flops=flops, compute_s=clock() - started)
        return Held(ids, cache, reading)

    def _used(self) -> int:
        return sum(held.size_bytes for held in self._held.values())
