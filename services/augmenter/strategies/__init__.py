"""The ways to ask, one per file; this dict is the registry.

A local strategy sees one document; a global one has all documents of the group in its context, or those most like the
one in focus, and its prompt is what follows them. The cheap baselines ask no model.
"""

from services.augmenter.strategies import about, infer, link, rephrase, reverse
from services.augmenter.strategies.base import Ask, Derived, Document, Strategy

STRATEGIES: dict[str, Strategy] = {
    "rephrase": rephrase.strategy,
    "reverse": reverse.strategy,
    "infer": infer.strategy,
    "link": link.strategy,
    "about": about.strategy,
}
DEFAULT_STRATEGIES = ("rephrase", "reverse", "infer", "link", "about")

__all__ = ["DEFAULT_STRATEGIES", "STRATEGIES", "Ask", "Derived", "Document", "Strategy"]
