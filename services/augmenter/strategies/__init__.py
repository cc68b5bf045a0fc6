"""The ways to ask, one per file; this dict is the registry.

A local strategy sees one document; a global one has all documents of the group in its context, and its prompt is
what follows them.
"""

from services.augmenter.strategies import about, infer, link, rephrase, reverse
from services.augmenter.strategies.base import Ask, Document, Strategy

STRATEGIES: dict[str, Strategy] = {
    "rephrase": rephrase.strategy,
    "reverse": reverse.strategy,
    "infer": infer.strategy,
    "link": link.strategy,
    "about": about.strategy,
}

__all__ = ["STRATEGIES", "Ask", "Document", "Strategy"]
