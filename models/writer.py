"""Training text with a loss weight for every part."""

from __future__ import annotations

from dataclasses import dataclass, field

# What a random draw decided cannot be learned: names in a context, the next subject of a list.
CONTEXT = 0.03
DRAWN = 0.15
OUTPUT = 0.5
ANSWER = 1.0
PLAIN = 0.2


@dataclass
class Episode:
    """One training sequence: parts of text, each with the weight of its tokens in the loss.

    A part begins at a word's or a line's start. `ends` says whether `<eos>` follows.
    """

    family: str
    parts: list[tuple[str, float]] = field(default_factory=list)
    ends: bool = True

    def write(self, text: str, weight: float) -> None:
        self.parts.append((text, weight))

    @property
    def text(self) -> str:
        """The sequence as the model reads it."""
        joined = ""
        for text, _ in self.parts:
            glue = "" if not joined or joined.endswith("\n") or text.startswith("\n") else " "
            joined += glue + text
        return joined
