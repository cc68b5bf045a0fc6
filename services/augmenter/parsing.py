"""What models write -> statements. Pure.

Free text is read line by line, or as its strategy reads it. Structured output is JSON; what is broken is repaired, and
what cannot be read may be asked for again.
"""

import json
import re
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
# Of broken JSON that is repaired, which takes time by the square of the text: at most about a second.
MOST_CHARACTERS = 4_000
MOST_BRACES = 50
_BEGINNING = re.compile(r"""\{\s*["'“”]?statements["'“”]?\s*:\s*\[""")
_BREAK = re.compile(r"\s*(?:,\s*)?")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


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
    """`{"statements": [...]}`, alone or in a fence or amid talk, whole or cut off or broken; empty where it is none of that."""
    try:
        return _statements(json.loads(output))
    except (ValueError, RecursionError):
        pass
    begins = _BEGINNING.search(output)
    if begins is None:
        return []
    found = _strings(output, begins.end())
    if found is not None:
        return _cleaned(found)
    broken = output[begins.start() :]
    if len(broken) > MOST_CHARACTERS or broken.count("{") > MOST_BRACES:
        return []
    try:
        return _statements(repair_json(broken, return_objects=True))
    except (ValueError, RecursionError):
        return []


def _strings(text: str, place: int) -> list[str] | None:
    """The strings of a list up to its end, or to where the text was cut off, with what there is of the last; None where it
    is broken."""
    found: list[str] = []
    while True:
        place = _BREAK.match(text, place).end()  # type: ignore[union-attr]
        if place == len(text) or text[place] == "]":
            return found
        if text[place] != '"':
            return None
        whole = _STRING.match(text, place)
        if whole is None:
            return [*found, text[place + 1 :]]
        try:
            found.append(json.loads(whole[0], strict=False))
        except ValueError:
            return None
        place = whole.end()
        if place < len(text) and text[place] not in ",] \t\r\n":
            return None


def _statements(value: Any) -> list[str]:
    """ValueError where it has another shape."""
    found = value.get("statements") if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(statement, str) for statement in found):
        raise ValueError("no list of statements")
    return _cleaned(found)


def _cleaned(found: list[str]) -> list[str]:
    return [" ".join(statement.split()) for statement in found] or [""]
