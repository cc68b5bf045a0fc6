"""Contexts' keys and values, kept within a byte budget; what a batch of prompts shares with one of them."""

from collections import OrderedDict
from dataclasses import dataclass

from transformers import DynamicCache, PreTrainedModel

from servicekit.costs import forward_flops
from services.inference.forest import read, share
from services.inference.models import LoadedModel
from services.inference.render import Renderer, common_prefix
from services.inference.wire import ContextRef, ModelRef, Spent


@dataclass(frozen=True)
class Held:
    ids: list[int]
    cache: DynamicCache

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
        if sequence_count:
            per_sequence = new_count / sequence_count
            spent.flops += new_count * forward_flops(
                ref.parameter_count, ref.layer_count, ref.hidden_size, 1, int(self.length + per_sequence / 2)
            )

    def account_plain(self, ref: ModelRef, token_count: int, spent: Spent) -> None:
        spent.prompt_tokens += token_count
        spent.flops += forward_flops(ref.parameter_count, ref.layer_count, ref.hidden_size, token_count)


class PrefixStore:
    """Least recently used contexts leave when the bytes are needed; a miss computes them again."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()

    def hold(self, loaded: LoadedModel, renderer: Renderer, context: ContextRef, spent: Spent) -> Held:
        """The context's keys and values; computing them is charged to whoever caused it."""
        key = (loaded.ref.sha256, context.sha256)
        if key not in self._held:
            ids = renderer.context(context.text)
            held = Held(ids, read(loaded.model, ids))
            Prefix(None, 0).account_plain(loaded.ref, len(ids), spent)
            while self._held and self._used() + held.size_bytes > self._budget_bytes:
                self._held.popitem(last=False)
            self._held[key] = held
        self._held.move_to_end(key)
        return self._held[key]

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
            return Prefix(None, 0)
        held = self.hold(loaded, renderer, context, spent)
        length = min(min(common_prefix(held.ids, ids), len(ids) - 1) for ids in sequences)
        return Prefix(held, length)

    def _used(self) -> int:
        return sum(held.size_bytes for held in self._held.values())
