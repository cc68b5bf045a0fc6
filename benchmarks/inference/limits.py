"""Floating-point operations that nothing can do without.

A forward pass of t new tokens over s that are known takes 2 N t + a t (s + (t + 1) / 2), with N the weights of the layers and
a = 4 x layers x width of the queries; a row of the output head takes 2 x width x vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    key_heads: int

    @property
    def parameters(self) -> int:
        """With one matrix for the embedding and the output, as these models have."""
        return self._layers_weights + self.vocabulary * self.width

    @property
    def _layers_weights(self) -> int:
        keys = self.width * self.key_heads // self.heads
        return self.layers * (2 * self.width * (self.width + keys) + 3 * self.width * self.inner)

    def forward(self, new: int, known: int = 0) -> float:
        attention = 4 * self.layers * self.width
        return 2 * self._layers_weights * new + attention * new * (known + (new + 1) / 2)

    def head(self, rows: int) -> float:
        return 2.0 * rows * self.width * self.vocabulary


SHAPE_135M = Shape(vocabulary=49_152, width=576, inner=1_536, layers=30, heads=9, key_heads=3)


def shared_context(shape: Shape, context: int, question: int, count: int) -> float:
    """How many times less is needed where the context is read once; one token is written."""
    alone = count * (shape.forward(context + question) + shape.head(1))
    return alone / (shape.forward(context) + count * (shape.forward(question, context) + shape.head(1)))


def scoring(shape: Shape, context: int, question: int, choices: Sequence[int], count: int) -> float:
    """How many times less a tree needs than one whole forward per choice with the head at every place."""
    return scoring_each(shape, context, [(question, choices)] * count)


def scoring_each(shape: Shape, context: int, items: Sequence[tuple[int, Sequence[int]]]) -> float:
    """The same of questions of any lengths: each its tokens, and those of its choices."""
    apart = together = 0.0
    for question, choices in items:
        for choice in choices:
            read = context + question + choice - 1
            apart += shape.forward(read) + shape.head(read)
            together += shape.forward(choice - 1, context + question)
        together += shape.forward(question, context) + shape.head(1 + sum(choice - 1 for choice in choices))
    return apart / ((shape.forward(context) if context else 0.0) + together)
