"""A random stream for each prompt: neither batching nor order changes what is drawn."""

import hashlib
from collections import Counter
from collections.abc import Sequence


def stream_seeds(seed: int, prompts: Sequence[object]) -> list[int]:
    """A seed for each prompt, from the call's, the prompt's text, and how many of the same stand before it."""
    seen: Counter[str] = Counter()
    seeds = []
    for prompt in map(str, prompts):
        content = f"{seed} {seen[prompt]} {prompt}".encode()
        seeds.append(int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1)
        seen[prompt] += 1
    return seeds
