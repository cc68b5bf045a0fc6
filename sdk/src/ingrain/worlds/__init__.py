"""Worlds of invented facts: documents whose consequences are known, and probes that ask for them.

Pure Python, deterministic from a seed. The names come from the benchmark pool, of which the bundled
model's pretraining never saw one.
"""

from __future__ import annotations

from .catalogue import catalogue
from .descriptions import descriptions
from .family import family
from .hierarchy import hierarchy
from .process import process
from .registry import GENERATORS, SIZES, sized
from .reversal_curse import reversal_curse
from .reversals import reversals
from .semantic import semantic
from .suite import suite
from .syllogisms import syllogisms
from .wordings import HELDOUT_WORDINGS, WORDINGS, in_context
from .world import World

__all__ = [
    "GENERATORS",
    "HELDOUT_WORDINGS",
    "SIZES",
    "WORDINGS",
    "World",
    "catalogue",
    "descriptions",
    "family",
    "hierarchy",
    "in_context",
    "process",
    "reversal_curse",
    "reversals",
    "semantic",
    "sized",
    "suite",
    "syllogisms",
]
