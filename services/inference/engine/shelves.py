"""Keys and values of sequences at work: those of like length lie on one shelf, so that one call attends for all of them.

A shelf's places are always filled from the front: when a sequence leaves, the last one takes its place. Shelves double in
length and in places as they are needed, so that at most about half of their memory is unused.

Axes: P places of a shelf, S tokens of a place, H key heads, D size of a head.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

SHORTEST = 64  # tokens of the shortest shelf


@dataclass(eq=False)
class Tail:
    """A sequence's own tokens, behind the prefix that it may share."""

    length: int = 0
    shelf: "Shelf | None" = None
    place: int = -1


class Shelf:
    def __init__(self, size: int) -> None:
        self.size = size
        self.tails: list[Tail] = []
        self.keys_PHSD: dict[int, torch.Tensor] = {}  # by layer
        self.values_PHSD: dict[int, torch.Tensor] = {}
        self._places = 0

    def write(
        self, layer: int, place: int, start: int, keys_HND: torch.Tensor, values_HND: torch.Tensor
    ) -> None:
        """Tokens of one place from `start` on."""
        end = start + keys_HND.shape[1]
        self._at(self.keys_PHSD, layer, keys_HND)[place, :, start:end] = keys_HND
        self._at(self.values_PHSD, layer, values_HND)[place, :, start:end] = values_HND

    def append(
        self,
        layer: int,
        places: torch.Tensor,
        positions: torch.Tensor,
        keys_HND: torch.Tensor,
        values_HND: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One token for each of `places`; keys and values of all places in use."""
        count = len(self.tails)
        keys, values = (
            self._at(self.keys_PHSD, layer, keys_HND),
            self._at(self.values_PHSD, layer, values_HND),
        )
        keys[places, :, positions] = keys_HND.transpose(0, 1)
        values[places, :, positions] = values_HND.transpose(0, 1)
        return keys[:count], values[:count]

    def _at(self, tensors: dict[int, torch.Tensor], layer: int, like_HND: torch.Tensor) -> torch.Tensor:
        found = tensors.get(layer)
        if found is None or found.shape[0] < self._places:
            heads, _, size = like_HND.shape
            grown = like_HND.new_zeros(self._places, heads, self.size, size)
            if found is not None:
                grown[: found.shape[0]] = found
            tensors[layer] = found = grown
        return found

    def put(self, tail: Tail) -> None:
        tail.shelf, tail.place = self, len(self.tails)
        self.tails.append(tail)
        while self._places < len(self.tails):
            self._places = max(1, 2 * self._places)

    def take(self, tail: Tail) -> None:
        last = self.tails.pop()
        if last is not tail:
            for tensors in (self.keys_PHSD, self.values_PHSD):
                for tensor in tensors.values():
                    tensor[tail.place, :, : last.length] = tensor[last.place, :, : last.length]
            self.tails[tail.place] = last
            last.place = tail.place
        tail.shelf, tail.place = None, -1


@dataclass
class Shelves:
    """Of one model."""

    _by_size: dict[int, Shelf] = field(default_factory=dict)

    def room_for(self, tail: Tail, count: int, exactly: bool = False) -> None:
        """Sees to it that `count` tokens fit. With `exactly` the tail gets a shelf of its own with not a token more."""
        if tail.shelf is not None and tail.shelf.size >= count:
            return
        size = count if exactly else size_for(count)
        target = Shelf(size) if exactly else self._by_size.setdefault(size, Shelf(size))
        source, place = tail.shelf, tail.place
        target.put(tail)
        if source is not None:
            for layer, keys in source.keys_PHSD.items():
                values = source.values_PHSD[layer]
                target.write(
                    layer, tail.place, 0, keys[place, :, : tail.length], values[place, :, : tail.length]
                )
            moved = Tail(tail.length, source, place)
            source.tails[place] = moved
            source.take(moved)

    def drop(self, tail: Tail) -> None:
        shelf = tail.shelf
        if shelf is None:
            return
        shelf.take(tail)
        if not shelf.tails and self._by_size.get(shelf.size) is shelf:
            del self._by_size[shelf.size]


def size_for(count: int) -> int:
    size = SHORTEST
    while size < count:
        size *= 2
    return size


def layers_of(tail: Tail) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values (H, length, D), layer by layer."""
    assert tail.shelf is not None
    for layer in sorted(tail.shelf.keys_PHSD):
        yield (
            tail.shelf.keys_PHSD[layer][tail.place, :, : tail.length],
            tail.shelf.values_PHSD[layer][tail.place, :, : tail.length],
        )
