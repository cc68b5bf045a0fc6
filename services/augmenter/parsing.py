"""What models write -> statements. Pure.

Free text is read line by line, or as its strategy reads it. Structured output is JSON; what is broken is repaired, and
what cannot be read may be asked for again.
"""

import json
from typing import Any

from json_repair import repair_json

from services.augmenter.planning import Planned
from services.augmenter.strategies import STRATEGIES
from services.augmenter.strategies.base import lines

# What `GenerateRequest.json_schema` of an ask that is `structured` says.
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"statements": {"type": "array", "items": {"type": "string"}}},
        "required": ["statements"],
        "additionalProperties": False,
    }
)
MOST_CHARACTERS = 1 << 20  # of broken JSON that is repaired: it takes time that grows with the text


def parsed(item: Planned, output: str) -> list[str]:
    """The statements of an output, at least one, empty where nothing was said.

    No statement at all: the output cannot be read, and is counted itself as `unparsable`.
    """
    if item.text is not None:
        return [item.text]
    if item.ask.structured:
        return structured(output)
    strategy = STRATEGIES.get(item.strategy)
    return strategy.parse(output) if strategy else lines(output)


def structured(output: str) -> list[str]:
    """`{"statements": [...]}`, alone or in a fence or amid talk, whole or broken; empty where it is none of that."""
    try:
        return _statements(json.loads(output))
    except (ValueError, RecursionError):
        pass
    if "{" not in output or len(output) > MOST_CHARACTERS:
        return []
    try:
        return _statements(repair_json(output[output.index("{") :], return_objects=True))
    except (ValueError, RecursionError):
        return []


def _statements(value: Any) -> list[str]:
    """ValueError where it has another shape."""
    found = value.get("statements") if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(statement, str) for statement in found):
        raise ValueError("no list of statements")
    return [" ".join(statement.split()) for statement in found] or [""]
