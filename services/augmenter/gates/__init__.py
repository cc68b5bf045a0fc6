"""What a derived statement must pass to become a row; one gate per file.

`Sieve` decides from the text alone, in the order of `REASONS`. `contradiction` and `claims` say what a model is asked
about the statements that are left, and what its answer means; whoever asks it is `judging.py`.
"""

from services.augmenter.gates.near import near_duplicates
from services.augmenter.gates.sieve import Sieve
from services.augmenter.gates.text import agreement, normalized

# Of `Provenance.dropped_counts`, in the order in which statements are looked at; the last two by a model.
REASONS = (
    "empty",
    "too_long",
    "unparsable",
    "copy",
    "duplicate",
    "off_topic",
    "unconfirmed",
    "near_duplicate",
    "unlikely",
    "unfaithful",
    "beyond_target",
)

__all__ = ["REASONS", "Sieve", "agreement", "near_duplicates", "normalized"]
