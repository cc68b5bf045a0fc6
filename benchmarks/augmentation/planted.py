"""Short texts with near duplicates among them whose similarity is known. The same each time. No library, for every environment."""

import random
import re

THRESHOLD = 0.7
GRAM = 3
_WORD = re.compile(r"\w+")


def texts(count: int, seed: int) -> tuple[list[str], dict[int, int]]:
    """Texts of 20 to 40 words; and of every fifth, which has one word of an earlier one exchanged, which that is."""
    draw = random.Random(seed)
    made: list[list[str]] = []
    copies: dict[int, int] = {}
    words = [f"word{n}" for n in range(20_000)]
    for number in range(count):
        if number % 5 == 4:
            origin = draw.choice([n for n in range(max(0, number - 50), number) if n not in copies])
            changed = list(made[origin])
            changed[draw.randrange(len(changed))] = draw.choice(words)
            made.append(changed)
            copies[number] = origin
        else:
            made.append(draw.choices(words, k=draw.randint(20, 40)))
    found = [" ".join(text) for text in made]
    grams = {n: word_grams(found[n]) for n in {*copies, *copies.values()}}
    near = {n: origin for n, origin in copies.items() if similarity(grams[n], grams[origin]) >= THRESHOLD}
    return found, near


def word_grams(text: str) -> frozenset[str]:
    words = _WORD.findall(text.casefold())
    return frozenset(" ".join(words[n : n + GRAM]) for n in range(max(1, len(words) - GRAM + 1)))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def recall(found: list[int | None], near: dict[int, int]) -> float:
    """Share of the planted ones that were found."""
    return sum(found[n] is not None for n in near) / len(near)
