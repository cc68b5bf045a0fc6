"""A context that is read: its keys and values become a prefix for others."""

from dataclasses import dataclass, field

import torch

from services.inference.engine.attention import Layers
from services.inference.engine.passes import Feed
from services.inference.engine.sequences import Line
from services.inference.engine.shelves import layers_of


@dataclass
class Reading(Line):
    ids: list[int] = field(default_factory=list)
    layers: Layers | None = None
    writing: bool = False
    _ahead: int = 0

    @property
    def done(self) -> bool:
        return self.layers is not None

    @property
    def room(self) -> tuple[int, bool]:
        return len(self.ids), True

    def next(self, most: int, whole: int) -> Feed | None:
        self._ahead = min(self.fed + most, len(self.ids))
        return Feed(self.ids[self.fed : self._ahead], list(range(self.fed, self._ahead)), [], kept=True)

    def receive(self, logits_WV: torch.Tensor) -> None:
        self.count(self._ahead - self.fed, self.fed)
        self.fed = self._ahead
        if self.fed == len(self.ids):
            found = list(layers_of(self.tail))
            self.layers = Layers([keys for keys, _ in found], [values for _, values in found])

    def alone(self) -> None:
        raise NotImplementedError("models that cannot share a row share no prefix")
