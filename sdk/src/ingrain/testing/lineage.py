"""The fake's lineage: rows by what they say of their sources, and rows taken out."""

import json
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2

from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Work
from ingrain.v1 import common_pb2, datasets_pb2


def traced(library: Library, request: Any) -> Iterator[datasets_pb2.TraceRowsResponse]:
    library.store.active(request.name)
    named = {
        row["id"] for row in map(json.loads, library.rows[request.name]) if _is_one_of(row, request.row_ids)
    }
    reached = {request.name: {*named, *request.row_ids}}
    yield datasets_pb2.TraceRowsResponse(dataset=request.name, row_ids=sorted(named))
    depth = 1
    while reached:
        further: dict[str, set[str]] = {}
        for dataset in _datasets(library):
            sources = reached.get(dataset.provenance.source_dataset)
            if sources is None:
                continue
            rows = [json.loads(row) for row in library.rows[dataset.name]]
            ids = [
                row["id"] for row in rows if sources & set(row.get("provenance", {}).get("source_rows", ()))
            ]
            further[dataset.name] = set(ids)
            if ids:
                yield datasets_pb2.TraceRowsResponse(dataset=dataset.name, row_ids=ids, depth=depth)
        reached, depth = further, depth + 1


def withdrawal(library: Library, request: Any) -> operations_pb2.Operation:
    dataset = library.store.active(request.name)
    rows = library.rows[request.name]
    left = [row for row in rows if not _is_one_of(json.loads(row), request.row_ids)]
    known = {json.loads(row)["id"] for row in rows}
    if missing := sorted(set(request.row_ids) - known):
        raise Refused("NOT_FOUND", "ROW_NOT_FOUND", f"{request.name} has no row {missing[0]!r}")
    if not left:
        message = f"these are all rows of {request.name}; delete the dataset instead"
        raise Refused("INVALID_ARGUMENT", "NOTHING_LEFT", message, "row_ids")
    if request.validate_only:
        estimate = common_pb2.Estimate(row_count=len(rows) - len(left))
        return library.store.estimate(request.name, "WithdrawRows", estimate)

    def finish() -> None:
        dataset.withdrawn_row_count += len(rows) - len(left)
        library.add(dataset, "\n".join(left).encode())

    return library.store.once(
        request, lambda: library.store.start(dataset, Work("WithdrawRows", {"writing": 1}, finish))
    )


def _datasets(library: Library) -> list[datasets_pb2.Dataset]:
    with library.store.changed:
        found = list(library.store.resources.values())
    active = common_pb2.ACTIVE
    return [one for one in found if isinstance(one, datasets_pb2.Dataset) and one.state == active]


def _is_one_of(row: dict[str, Any], ids: Any) -> bool:
    return not ids or row.get("id") in ids
