"""Costs added, and one taken out of another: field by field."""

from ingrain.v1 import common_pb2


def sum_of(one: common_pb2.Cost, other: common_pb2.Cost) -> common_pb2.Cost:
    return _combined(one, other, 1)


def without(whole: common_pb2.Cost, part: common_pb2.Cost) -> common_pb2.Cost:
    return _combined(whole, part, -1)


def _combined(one: common_pb2.Cost, other: common_pb2.Cost, sign: int) -> common_pb2.Cost:
    found = common_pb2.Cost()
    for field in common_pb2.Cost.DESCRIPTOR.fields:
        setattr(found, field.name, getattr(one, field.name) + sign * getattr(other, field.name))
    return found
