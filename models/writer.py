"""Training text with a loss weight for every part."""

from __future__ import annotations

from dataclasses import dataclass, field

STOP = "<eos>"

# What a random draw decided cannot be learned: names in a context, the next subject of a list.
CONTEXT = 0.03
DRAWN = 0.15
OUTPUT = 0.5
ANSWER = 1.0
PLAIN = 0.2


@dataclass
class Episode:
    """One training sequence: parts of text, each with the weight of its tokens in the loss.

    A part begins at a word's or a line's start. The whole ends with `<eos>`.
    """

    family: str
    parts: list[tuple[str, float]] = field(default_factory=list)

    def write(self, text: str, weight: float) -> None:
        self.parts.append((text, weight))

    def stop(self) -> None:
        """End an answer with `<eos>` although another prompt follows."""
        self.parts.append((STOP, ANSWER))

    @property
    def text(self) -> str:
        """The sequence as the model reads it."""
        joined = ""
        for text, _ in self.parts:
            bare = not joined or joined.endswith("\n") or text.startswith(("\n", STOP))
            glue = "" if bare else " "
            joined += glue + text
        return joined
