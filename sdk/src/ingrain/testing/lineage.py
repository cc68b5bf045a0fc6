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
    rows = list(map(json.loads, library.rows[request.name]))
    named = {row.get("id", "") for row in rows if _is_one_of(row, request.row_ids)} - {""}
    if not library.store.get(request.name).withdrawn_row_count:
        _require(request.name, request.row_ids, named)
    reached = {request.name: {*named, *request.row_ids}}
    if named:
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
    if request.validate_only:
        estimate = common_pb2.Estimate(row_count=dataset.row_count - len(_left(library, request)))
        return library.store.estimate(request.name, "WithdrawRows", estimate)

    def finish() -> None:
        left = _left(library, request)
        dataset.withdrawn_row_count += dataset.row_count - len(left)
        library.add(dataset, "\n".join(left).encode())

    def make() -> operations_pb2.Operation:
        for name, operation in library.store.operations.items():
            if name.startswith(f"{request.name}/operations/") and not operation.done:
                message = f"{name} is at work on {request.name}; wait for it"
                raise Refused("FAILED_PRECONDITION", "DATASET_BUSY", message, operation=name)
        return library.store.start(dataset, Work("WithdrawRows", {"writing": 1}, finish, changes=True))

    return library.store.once(request, make)


def _left(library: Library, request: Any) -> list[str]:
    """Rows that stay. Refused for an id that no row has, and where none would stay."""
    rows = library.rows[request.name]
    _require(request.name, request.row_ids, {json.loads(row).get("id", "") for row in rows})
    left = [row for row in rows if not _is_one_of(json.loads(row), request.row_ids)]
    if not left:
        message = f"these are all rows of {request.name}; delete the dataset instead"
        raise Refused("INVALID_ARGUMENT", "NOTHING_LEFT", message, "row_ids")
    return left


def _require(dataset: str, ids: Any, known: set[str]) -> None:
    if missing := sorted(set(ids) - known):
        message = f"{dataset} has no row {missing[0]!r}"
        raise Refused("NOT_FOUND", "ROW_NOT_FOUND", message, resource=dataset, rows=", ".join(missing))


def _datasets(library: Library) -> list[datasets_pb2.Dataset]:
    with library.store.changed:
        found = list(library.store.resources.values())
    active = common_pb2.ACTIVE
    return [one for one in found if isinstance(one, datasets_pb2.Dataset) and one.state == active]


def _is_one_of(row: dict[str, Any], ids: Any) -> bool:
    return not ids or row.get("id") in ids
