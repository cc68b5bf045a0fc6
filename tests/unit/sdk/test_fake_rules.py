"""The fake's reading of the protos' rules is the platform's library's, message by message."""

import random
from collections.abc import Iterator
from typing import Any

import protovalidate
import pytest
from google.protobuf import message_factory

from ingrain.testing.rules import violations
from ingrain.v1 import (
    aliases_pb2,
    augmenter_pb2,
    batches_pb2,
    datasets_pb2,
    evaluator_pb2,
    inference_pb2,
    projects_pb2,
    studies_pb2,
    trainer_pb2,
)
from servicekit.interceptors import field_path

FILES = (
    *(aliases_pb2, augmenter_pb2, batches_pb2, datasets_pb2, evaluator_pb2),
    *(inference_pb2, projects_pb2, studies_pb2, trainer_pb2),
)
TEXTS = (
    "",
    "a",
    "A b",
    "projects/default",
    "projects/default/models/m",
    "projects/p/datasets/d\n",
    "cpu",
    "user",
)
NUMBERS = (0, 1, -1, 3, 70, 1 << 30)


def filled(descriptor: Any, chance: random.Random, depth: int = 3) -> Any:
    """A message with some of its fields set to something."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if chance.random() < 0.4:
            continue
        count = chance.choice((1, 2, 70)) if field.is_repeated else 1
        if field.message_type is None:
            values = [value_of(field, chance) for _ in range(count)]
            if field.is_repeated:
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, values[0])
        elif field.message_type.GetOptions().map_entry or depth == 0:
            continue
        elif field.is_repeated:
            made = [filled(field.message_type, chance, depth - 1) for _ in range(min(count, 2))]
            getattr(message, field.name).extend(made)
        else:
            getattr(message, field.name).CopyFrom(filled(field.message_type, chance, depth - 1))
    return message


def value_of(field: Any, chance: random.Random) -> Any:
    kinds = {field.CPPTYPE_STRING: TEXTS, field.CPPTYPE_BOOL: (True, False)}
    kinds |= {field.CPPTYPE_DOUBLE: (0.0, 0.5, -1.0, 1e9, float("nan"))}
    value = chance.choice(kinds.get(field.cpp_type, NUMBERS))
    return value.encode() if field.type == field.TYPE_BYTES else value


def messages() -> Iterator[Any]:
    for file in FILES:
        yield from file.DESCRIPTOR.message_types_by_name.values()


@pytest.mark.parametrize("seed", range(3))
def test_the_same_fields_are_wrong(seed: int) -> None:
    chance, wrong = random.Random(seed), 0
    for descriptor in messages():
        for message in (message_factory.GetMessageClass(descriptor)(), filled(descriptor, chance)):
            expected = [field_path(violation) for violation in protovalidate.collect_violations(message)]
            assert sorted(field for field, _ in violations(message)) == sorted(expected), message
            wrong += bool(expected)
    assert wrong > 100
