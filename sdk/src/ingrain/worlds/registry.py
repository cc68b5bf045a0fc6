"""All worlds by name, and the sizes that they are made in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .catalogue import catalogue
from .descriptions import descriptions
from .family import SIZES as FAMILY_SIZES
from .family import family
from .hierarchy import hierarchy
from .process import SIZES as PROCESS_SIZES
from .process import process
from .reversal_curse import SIZES as CURSE_SIZES
from .reversal_curse import reversal_curse
from .reversals import reversals
from .semantic import SIZES as SEMANTIC_SIZES
from .semantic import semantic
from .suite import suite
from .syllogisms import syllogisms
from .world import World

GENERATORS: dict[str, Callable[..., World]] = {
    "reversals": reversals,
    "syllogisms": syllogisms,
    "catalogue": catalogue,
    "descriptions": descriptions,
    "hierarchy": hierarchy,
    "suite": suite,
    "semantic": semantic,
    "reversal_curse": reversal_curse,
    "family": family,
    "process": process,
}

# Arguments of the generators by size. `small` is what the bundled model can be asked about; `paper` are the sizes of
# Lampinen et al. 2025 (and of Berglund et al. 2024, which they use); `full` is a size of our own.
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "reversals": {"small": {}, "paper": {"facts": 100, "repeats": 10}},
    "syllogisms": {"small": {}, "paper": {"count": 69}},
    "catalogue": {"small": {}},
    "descriptions": {"small": {}},
    "hierarchy": {"small": {}},
    "suite": {"small": {}},
    "semantic": {size: {"size": size} for size in SEMANTIC_SIZES},
    "reversal_curse": {size: {"size": size} for size in CURSE_SIZES},
    "family": {size: {"size": size} for size in FAMILY_SIZES},
    "process": {size: {"size": size} for size in PROCESS_SIZES},
}


def sized(world: str, seed: int, size: str = "small") -> World:
    """A world in one of its sizes; ValueError says which there are."""
    if world not in SIZES:
        raise ValueError(f"there is no world {world!r}; there are {', '.join(SIZES)}")
    if size not in SIZES[world]:
        raise ValueError(f"{world} is made in the sizes {', '.join(SIZES[world])}, not {size!r}")
    return GENERATORS[world](seed, **SIZES[world][size])
