"""Worlds of invented facts: documents whose consequences are known, and probes that ask for them.

Pure Python, deterministic from a seed. The names come from the benchmark pool, of which the bundled
model's pretraining never saw one.
"""

from __future__ import annotations

from collections.abc import Callable

from .catalogue import catalogue
from .descriptions import descriptions
from .hierarchy import hierarchy
from .reversals import reversals
from .suite import suite
from .syllogisms import syllogisms
from .wordings import HELDOUT_WORDINGS, WORDINGS, in_context
from .world import World

GENERATORS: dict[str, Callable[..., World]] = {
    "reversals": reversals,
    "syllogisms": syllogisms,
    "catalogue": catalogue,
    "descriptions": descriptions,
    "hierarchy": hierarchy,
    "suite": suite,
}

__all__ = ["GENERATORS", "HELDOUT_WORDINGS", "WORDINGS", "World", "in_context"]
