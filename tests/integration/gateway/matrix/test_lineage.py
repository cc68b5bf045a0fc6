"""`client.lineage` through the gateway, over the lists of the real services."""

from typing import Any

import pytest

from ingrain import errors
from ingrain.names import short_id


def names(found: Any) -> set[str]:
    return {short_id(one.name) for one in found}


async def test_what_came_of_a_document_is_put_together_from_every_service(whole: Any) -> None:
    async with whole.client(whole.keys["read-only"]) as client:
        lineage = await client.lineage.of("docs", ["a"])
        assert [(short_id(rows.dataset), rows.depth, rows.ids) for rows in lineage.rows] == [
            ("docs", 0, ("a",))
        ]
        assert names(lineage.contexts) == {"one", "begun"}
        assert names(lineage.studies) == {"begun"}
        assert names(lineage.batches) == {"one"}
        with pytest.raises(errors.NotFound, match="no row 'b'"):
            await client.lineage.of("docs", ["b"])
        with pytest.raises(errors.PermissionDenied):
            await client.lineage.withdraw("docs", ["a"])
    async with whole.client(whole.keys["other project"], "other") as stranger:
        with pytest.raises(errors.NotFound):
            await stranger.lineage.of("projects/default/datasets/docs", ["a"])


async def test_taking_back_the_last_row_takes_the_dataset_and_its_contexts(whole: Any) -> None:
    async with whole.client(whole.keys["good"]) as client:
        done = await client.lineage.withdraw("docs", ["a"])
        assert {short_id(name) for name in done.deleted} == {"docs", "one", "begun"}
        assert done.withdrawn == {"projects/default/datasets/docs": 1}
        assert done.reports == ("projects/default/studies/begun",)
        assert not [context async for context in client.contexts.list()]
        with pytest.raises(errors.NotFound):
            await client.datasets.get("docs")
    async with whole.client(whole.keys["other project"], "other") as stranger:
        assert [row["id"] async for row in stranger.datasets.rows("docs")] == ["a"]
