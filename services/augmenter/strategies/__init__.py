"""The ways to ask, one per file; this dict is the registry.

A local strategy sees one document; a global one has all documents of the group in its context, or those most like the
one in focus, and its prompt is what follows them. The cheap baselines ask no model.
"""

from services.augmenter.strategies import (
    about,
    active_reading,
    entity_pairs,
    identity_bridge,
    infer,
    link,
    masked,
    question_answer,
    rephrase,
    reverse,
    reverse_words,
    summarize,
)
from services.augmenter.strategies.base import Ask, Derived, Document, Strategy

STRATEGIES: dict[str, Strategy] = {
    "rephrase": rephrase.strategy,
    "reverse": reverse.strategy,
    "infer": infer.strategy,
    "link": link.strategy,
    "about": about.strategy,
    "question_answer": question_answer.strategy,
    "summarize": summarize.strategy,
    "active_reading": active_reading.strategy,
    "entity_pairs": entity_pairs.strategy,
    "reverse_words": reverse_words.strategy,
    "identity_bridge": identity_bridge.strategy,
    "masked": masked.strategy,
}
DEFAULT_STRATEGIES = ("rephrase", "reverse", "infer", "link", "about")

__all__ = ["DEFAULT_STRATEGIES", "STRATEGIES", "Ask", "Derived", "Document", "Strategy"]
