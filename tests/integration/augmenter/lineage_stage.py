"""Derived datasets as a derivation leaves them, without one: rows that a test chooses, under a source that it names."""

from collections.abc import Awaitable, Callable
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import datasets_pb2
from servicekit.database import Database
from servicekit.resources import Resources
from services.augmenter.settings import AugmenterSettings

PROJECT = "projects/demo"


def derived_of(client: AsyncClient, settings: AugmenterSettings) -> Callable[..., Awaitable[Any]]:
    async def derive(id: str, source: str, rows: list[dict[str, Any]]) -> datasets_pb2.Dataset:
        made = await client.datasets.upload(rows, id=id)
        database = Database(settings.database_url, schema="augmenter")

        def came_from(dataset: datasets_pb2.Dataset) -> None:
            dataset.provenance.source_dataset = f"{PROJECT}/datasets/{source}"

        await Resources(database, datasets_pb2.Dataset, "datasets").update(made.name, came_from)
        await database.close()
        return made

    return derive


async def trace(client: AsyncClient, dataset: str, *row_ids: str) -> dict[str, tuple[int, list[str]]]:
    """Depth and ids by the dataset's id, in the order in which they come."""
    request = datasets_pb2.TraceRowsRequest(name=f"{PROJECT}/datasets/{dataset}", row_ids=row_ids)
    found: dict[str, tuple[int, list[str]]] = {}
    async for message in client.stubs.datasets.TraceRows(request):
        _, ids = found.setdefault(message.dataset.rpartition("/")[2], (message.depth, []))
        ids.extend(message.row_ids)
    return found
