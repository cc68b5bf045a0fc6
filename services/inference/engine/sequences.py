"""What the scheduler needs of a sequence at work, and what all of them have."""

from dataclasses import dataclass, field
from typing import Protocol

import torch

from servicekit.costs import forward_flops
from services.inference.engine.models import LoadedModel
from services.inference.engine.passes import Feed
from services.inference.engine.prefix import NOTHING, Prefix
from services.inference.engine.shelves import Tail
from services.inference.wire import Spent


class Sequence(Protocol):
    """`next` gives at most `most` tokens, the same until they are received; None where more belong together and `whole` tokens would
    take them: then it waits for a pass with more room. `receive` takes the logits (wanted, vocabulary) of what was given last. `alone` does
    a step without others, for models that cannot share a row. `spent` grows by what each takes."""

    loaded: LoadedModel
    prefix: Prefix
    tail: Tail
    spent: Spent

    @property
    def done(self) -> bool: ...

    @property
    def writing(self) -> bool:
        """Whether it feeds one token after the other by now."""

    @property
    def room(self) -> tuple[int, bool]:
        """Tokens that its tail will hold as far as is known, and whether exactly so many."""

    def begin_behind(self, prefix: Prefix) -> None: ...

    def next(self, most: int, whole: int) -> Feed | None: ...

    def receive(self, logits_WV: torch.Tensor) -> None: ...

    def alone(self) -> None: ...


@dataclass
class Line:
    """A sequence's place in its text, and what it costs: a base for those that there are."""

    loaded: LoadedModel
    spent: Spent
    prefix: Prefix = NOTHING
    tail: Tail = field(default_factory=Tail)
    fed: int = 0  # of the sequence's ids, the prefix's included

    def begin_behind(self, prefix: Prefix) -> None:
        """Before anything is fed: the prefix's tokens need not be."""
        self.prefix, self.fed = prefix, prefix.length
        self.spent.prompt_tokens += prefix.length
        self.spent.cached_tokens += prefix.length

    def count(self, new_tokens: int, before: int, prompt: bool = True) -> None:
        """`new_tokens` were computed, each of which sees `before` others, and those of the new ones that stand before it."""
        ref = self.loaded.ref
        if prompt:
            self.spent.prompt_tokens += new_tokens
        self.spent.flops += forward_flops(
            ref.parameter_count, ref.layer_count, ref.hidden_size, new_tokens, before
        )
