"""The protos' own rules (`buf.validate`), as far as they are used there: what the platform refuses as INVALID_REQUEST.

The platform asks a library; this is small, so that the fake needs none. A rule that is not known here raises KeyError.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message

from buf.validate import validate_pb2

_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_BOUNDS = ("gt", "gte", "lt", "lte")
Violation = tuple[str, str]


def violations(message: Message, path: str = "") -> list[Violation]:
    """(field, what is wrong with it) of every rule that the message breaks; a field is a path like `items[3].choices`."""
    return list(_of_message(message, path))


def _of_message(message: Any, path: str) -> Iterator[Violation]:
    for oneof in message.DESCRIPTOR.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required and not message.WhichOneof(oneof.name):
            yield _joined(path, oneof.name), "exactly one field is required in oneof"
    for field in message.DESCRIPTOR.fields:
        yield from _of_field(message, field, _joined(path, field.name))


def _of_field(message: Any, field: Any, path: str) -> Iterator[Violation]:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    value = getattr(message, field.name)
    is_set = any(one is field for one, _ in message.ListFields())
    if rules.ignore == validate_pb2.IGNORE_ALWAYS:
        return
    if rules.required and not is_set:
        yield path, "value is required"
        return
    if not is_set and (field.has_presence or rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE):
        return
    yield from _broken(rules, value, path, field)
    if field.message_type is None:
        return
    if not field.is_repeated:
        yield from _of_message(value, path)
    elif not field.message_type.GetOptions().map_entry:
        for number, one in enumerate(value):
            yield from _of_message(one, f"{path}[{number}]")


def _broken(rules: Any, value: Any, path: str, field: Any) -> Iterator[Violation]:
    kind = rules.WhichOneof("type")
    if kind is None:
        return
    out_of_bounds = False
    for rule, limit in getattr(rules, kind).ListFields():
        if rule.name == "items":
            for number, one in enumerate(value):
                yield from _broken(limit, one, f"{path}[{number}]", field)
        elif rule.name == "defined_only":
            if value not in field.enum_type.values_by_number:
                yield path, "value must be one of the defined enum values"
        elif not _FITS[rule.name](value, limit):
            if rule.name in _BOUNDS and out_of_bounds:
                continue  # both bounds are one rule, and NaN keeps neither
            out_of_bounds = out_of_bounds or rule.name in _BOUNDS
            shown = list(limit) if hasattr(limit, "__len__") and not isinstance(limit, str) else limit
            yield path, f"must keep the rule {rule.name}: {shown}"


def _number(value: Any) -> float | int:
    return value.ToNanoseconds() if isinstance(value, Message) else value


def _matches(text: str, pattern: str) -> bool:
    """As RE2 reads it, whose `$` is the end and nothing before it."""
    return re.search(re.sub(r"\$$", r"\\Z", pattern), text) is not None


_FITS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, limit: _number(value) > _number(limit),
    "gte": lambda value, limit: _number(value) >= _number(limit),
    "lt": lambda value, limit: _number(value) < _number(limit),
    "lte": lambda value, limit: _number(value) <= _number(limit),
    "in": lambda value, limit: value in limit,
    "not_in": lambda value, limit: value not in limit,
    "pattern": _matches,
    "uuid": lambda value, _: _matches(value, _UUID),
    "unique": lambda value, _: len(set(value)) == len(value),
    **{f"min_{what}": lambda value, limit: len(value) >= limit for what in ("len", "items", "pairs")},
    **{f"max_{what}": lambda value, limit: len(value) <= limit for what in ("len", "items", "pairs")},
}


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
