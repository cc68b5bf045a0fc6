"""What training should not take away: general probes and text, to be asked before and after.

    client.datasets.upload(general.probes(), id="general-probes", kind="probes")
    client.datasets.upload(general.text(), id="general-text", kind="documents")

Both were written for this package and are small: they notice that a model has lost much, not that it has lost a little.
They are of no use for a model made for invented worlds, which knows no English; `held_out` makes its counterpart.
"""

import json
from importlib import resources
from typing import Any

from ingrain.general.worlds import HeldOut, held_out

__all__ = ["HeldOut", "held_out", "probes", "text"]

Row = dict[str, Any]


def probes() -> list[Row]:
    """60 forced choices on common knowledge, four choices each, all of kind `general`; asked without documents."""
    return _rows("probes.jsonl")


def text() -> list[Row]:
    """20 short paragraphs of plain English on many topics, as documents of kind `text`."""
    return _rows("text.jsonl")


def _rows(name: str) -> list[Row]:
    content = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in content.splitlines()]
