"""TraceRows: what was derived from rows, at any remove, through deleted datasets and split documents."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2

Derive = Callable[..., Awaitable[None]]
Trace = Callable[..., Awaitable[dict[str, tuple[int, list[str]]]]]


def row(id: str, *sources: str, **more: Any) -> dict[str, Any]:
    provenance = {"source_rows": list(sources), "strategy": "infer", **more.pop("provenance", {})}
    return {"id": id, "text": f"text of {id}", "provenance": provenance, **more}


@pytest.fixture
async def chain(client: AsyncClient, derive: Derive) -> None:
    """documents -> first -> second, and aside beside first; a document of three parts among them."""
    parts = [
        {
            "id": f"long.pdf#{n}",
            "text": f"part {n}",
            "metadata": {"source": "long.pdf", "start": n, "end": n + 1},
        }
        for n in (1, 2, 3)
    ]
    await client.datasets.upload(
        [{"id": "a", "text": "A."}, {"id": "b", "text": "B."}, *parts], id="documents"
    )
    await derive(
        client,
        "first",
        "documents",
        [row("f1", "a"), row("f2", "b"), row("f3", "a", "b"), row("f4", "long.pdf#2")],
    )
    await derive(
        client, "second", "first", [row("s1", "f1"), row("s2", "f2"), row("s3", "f3"), row("s4", "f4")]
    )
    await derive(client, "aside", "documents", [row("x1", "long.pdf#3"), row("x2", "b")])
    await client.datasets.upload([{"id": "u", "text": "nobody's"}], id="unrelated")


async def test_a_chain_is_followed_to_its_end_and_told_with_its_depth(
    client: AsyncClient, chain: None, trace: Trace
) -> None:
    assert await trace(client, "documents", "a") == {
        "documents": (0, ["a"]),
        "first": (1, ["f1", "f3"]),
        "second": (2, ["s1", "s3"]),
    }
    assert await trace(client, "first", "f2") == {"first": (0, ["f2"]), "second": (1, ["s2"])}
    assert await trace(client, "second", "s1") == {"second": (0, ["s1"])}


async def test_an_original_stands_for_its_parts(client: AsyncClient, chain: None, trace: Trace) -> None:
    whole = await trace(client, "documents", "long.pdf")
    assert whole == {
        "documents": (0, ["long.pdf#1", "long.pdf#2", "long.pdf#3"]),
        "first": (1, ["f4"]),
        "aside": (1, ["x1"]),
        "second": (2, ["s4"]),
    }
    assert (await trace(client, "documents", "long.pdf#3")).keys() == {"documents", "aside"}


async def test_metadata_that_only_looks_like_a_part_names_nobody(client: AsyncClient, trace: Trace) -> None:
    rows = [{"id": "1", "text": "x", "metadata": {"source": "wiki"}}, {"id": "wiki", "text": "y"}]
    await client.datasets.upload(rows, id="documents")
    assert await trace(client, "documents", "wiki") == {"documents": (0, ["wiki"])}


async def test_without_ids_everything_is_traced(client: AsyncClient, chain: None, trace: Trace) -> None:
    found = await trace(client, "documents")
    assert {name: len(ids) for name, (_, ids) in found.items()} == {
        "documents": 5, "first": 4, "second": 4, "aside": 2,
    }  # fmt: skip


async def test_a_deleted_dataset_is_not_told_but_what_came_of_it_is(
    client: AsyncClient, chain: None, trace: Trace
) -> None:
    await client.datasets.delete("first")
    assert await trace(client, "documents", "a") == {"documents": (0, ["a"]), "second": (2, ["s1", "s3"])}


async def test_an_id_that_never_was_is_refused(client: AsyncClient, chain: None, trace: Trace) -> None:
    with pytest.raises(errors.NotFound, match="'nobody'") as caught:
        await trace(client, "documents", "a", "nobody")
    assert caught.value.reason == "ROW_NOT_FOUND"


async def test_what_had_a_whole_group_in_sight_came_of_each_of_its_documents(
    client: AsyncClient, derive: Derive, trace: Trace
) -> None:
    documents = [
        {"id": f"{world}{n}", "text": f"{world} {n}", "metadata": {"world": world}}
        for world in "vw"
        for n in (1, 2)
    ]
    await client.datasets.upload(documents, id="documents")

    def among(id: str, source: str, group: str) -> dict[str, Any]:
        metadata = {"strategy": "link"} | ({"world": group} if group else {})
        return row(id, source, metadata=metadata, provenance={"context_group": group})

    rows = [
        among("g1", "v1", "v"),
        among("g2", "w1", "w"),
        row("g3", "w1", provenance={"read_rows": ["v2"]}),
        row("g4", "v1"),
    ]
    await derive(client, "grouped", "documents", rows)
    await derive(client, "at-once", "documents", [among("h1", "w1", "")])
    assert await trace(client, "documents", "v2") == {
        "documents": (0, ["v2"]),
        "grouped": (1, ["g1", "g3"]),
        "at-once": (1, ["h1"]),
    }
    # Entities of the whole group are in the rows of a control; one that says nothing came of everything.
    await derive(client, "control", "documents", [row("c1", "w1", provenance={"shuffled": True})])
    await derive(client, "silent", "documents", [{"id": "q1", "text": "?"}])
    assert {"control", "silent"} <= (await trace(client, "documents", "v2")).keys()


async def test_probes_say_by_label_what_they_are_about(client: AsyncClient, trace: Trace) -> None:
    await client.datasets.upload([{"id": "a", "text": "A."}, {"id": "b", "text": "B."}], id="documents")
    probe = {"kind": "k", "prompt": "x", "choices": ["1", "2"], "answer": "1"}
    probes = [
        {"id": "p1", **probe, "metadata": {"sources": ["a"]}},
        {"id": "p2", **probe, "metadata": {"sources": ["b"]}},
        {"id": "p3", **probe},
    ]
    label = {"source_dataset": "projects/demo/datasets/documents"}
    await client.datasets.upload(probes, id="probes", labels=label)
    assert await trace(client, "documents", "a") == {"documents": (0, ["a"]), "probes": (1, ["p1"])}


async def test_many_rows_come_in_several_messages(client: AsyncClient, derive: Derive, trace: Trace) -> None:
    await client.datasets.upload([{"id": "a", "text": "A."}], id="documents")
    ids = [f"{n}-{'x' * 200}" for n in range(6000)]
    await derive(client, "many", "documents", [row(id, "a") for id in ids])
    request = datasets_pb2.TraceRowsRequest(name="projects/demo/datasets/documents", row_ids=["a"])
    messages = [message async for message in client.stubs.datasets.TraceRows(request)]
    assert all(message.ByteSize() < 1 << 20 for message in messages)
    assert len(messages) >= 3
    assert [id for message in messages[1:] for id in message.row_ids] == ids


async def test_nobody_elses_rows_are_traced(client: AsyncClient, trace: Trace) -> None:
    request = datasets_pb2.TraceRowsRequest(name="projects/other/datasets/documents")
    with pytest.raises(errors.NotFound):
        async for _ in client.stubs.datasets.TraceRows(request):
            pass


async def test_a_model_free_derivation_is_traced_as_it_was_made(client: AsyncClient, trace: Trace) -> None:
    """Rows as the pipeline writes them, not as a test thinks that it does."""
    documents = [{"id": f"d{n}", "text": f"The valve {n} comes before the pump."} for n in range(4)]
    await client.datasets.upload(documents, id="documents")
    for source, id in (("documents", "once"), ("once", "twice")):
        operation = await client.stubs.augmenter.AugmentDataset(model_free(source, id))
        await client.operations.wait(operation, timeout_s=30)
    found = await trace(client, "documents", "d2")
    assert {name: depth for name, (depth, _) in found.items()} == {"documents": 0, "once": 1, "twice": 2}
    rows = {row["id"]: row async for row in client.datasets.rows("once")}
    assert all("d2" in rows[id]["provenance"]["source_rows"] for id in found["once"][1])
    assert 0 < len(found["once"][1]) < len(rows)


def model_free(source: str, id: str) -> Any:
    from ingrain.v1 import augmenter_pb2

    spec = augmenter_pb2.AugmentationSpec(
        dataset=f"projects/demo/datasets/{source}", strategies=["reverse_words"]
    )
    return augmenter_pb2.AugmentDatasetRequest(parent="projects/demo", dataset_id=id, spec=spec)
