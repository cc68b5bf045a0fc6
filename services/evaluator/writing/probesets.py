"""Probe sets in the making: rows of this service that stand for datasets which another one will own.

An operation is found by its resource's name, and made in one transaction with it; so the evaluator keeps a row
`projects/p/probesets/x` for the dataset `projects/p/datasets/x` that it uploads in the end.
"""

import sqlalchemy as sa

from ingrain.v1 import datasets_pb2
from servicekit.resources import Resources

COLLECTION = "probesets"


class ProbeSets(Resources[datasets_pb2.Dataset]):
    def replace_in(self, connection: sa.Connection, message: datasets_pb2.Dataset) -> None:
        """Of the dataset as it was uploaded, or of the row itself."""
        row = datasets_pb2.Dataset()
        row.CopyFrom(message)
        row.name = row.name.replace("/datasets/", f"/{COLLECTION}/")
        super().replace_in(connection, row)


def dataset_of(probeset: str) -> str:
    """The name of the dataset that a probe set becomes."""
    return probeset.replace(f"/{COLLECTION}/", "/datasets/")
