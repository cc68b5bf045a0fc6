"""WithdrawRows: the rows are out of the payload, of storage and of the store of outputs, whoever is killed when."""

import asyncio
import hashlib
import json
import signal
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.operation import AsyncOperation
from ingrain.v1 import common_pb2, datasets_pb2
from servicekit.errors import Unavailable
from servicekit.folder import FolderStorage
from services.augmenter import withdrawing
from services.augmenter.settings import AugmenterSettings

PROJECT = "projects/demo"
ROWS = [{"id": f"d{n}", "text": f"secret-{n} is told here.", "metadata": {"n": n}} for n in range(20)]
GONE = ["d3", "d17"]


def request(dataset: str, *row_ids: str, **more: Any) -> datasets_pb2.WithdrawRowsRequest:
    return datasets_pb2.WithdrawRowsRequest(name=f"{PROJECT}/datasets/{dataset}", row_ids=row_ids, **more)


async def withdraw(client: AsyncClient, dataset: str, *row_ids: str, **more: Any) -> AsyncOperation:
    return AsyncOperation(
        client, await client.stubs.datasets.WithdrawRows(request(dataset, *row_ids, **more))
    )


async def withdrawn(
    client: AsyncClient, dataset: str, *row_ids: str, validate_only: bool = False
) -> datasets_pb2.Dataset:
    operation = await withdraw(client, dataset, *row_ids, validate_only=validate_only)
    return await operation.result(timeout_s=60)


async def rows_of(client: AsyncClient, dataset: str) -> list[dict[str, Any]]:
    return [row async for row in client.datasets.rows(dataset)]


def folder(settings: AugmenterSettings) -> Path:
    return Path(settings.storage.removeprefix("file://"))


def stored(settings: AugmenterSettings, text: str, under: str = "") -> list[Path]:
    """Files of the storage that have the text in them."""
    return [
        path
        for path in sorted((folder(settings) / under).rglob("*"))
        if path.is_file() and text in path.read_text()
    ]


async def test_rows_are_gone_from_the_payload_and_from_storage(
    client: AsyncClient, settings: AugmenterSettings
) -> None:
    before = await client.datasets.upload(ROWS, id="documents", display_name="Mine", labels={"a": "b"})
    made = await withdrawn(client, "documents", *GONE)
    left = [row for row in ROWS if row["id"] not in GONE]
    assert await rows_of(client, "documents") == left
    assert (made.row_count, made.withdrawn_row_count, made.state) == (18, 2, common_pb2.ACTIVE)
    assert made.sha256 != before.sha256
    assert made == await client.datasets.get("documents")
    assert (made.display_name, dict(made.labels), made.create_time) == (
        "Mine",
        {"a": "b"},
        before.create_time,
    )
    for id in GONE:
        assert not stored(settings, ROWS[int(id[1:])]["text"])
    (path,) = [path for path in stored(settings, "secret-4 ") if path.name == "rows.jsonl"]
    raw = path.read_bytes()
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (made.size_bytes, made.sha256)
    assert json.loads(path.with_name("manifest.json").read_text())["row_count"] == 18
    again = await withdrawn(client, "documents", "d4")
    assert (again.row_count, again.withdrawn_row_count) == (17, 3)


async def test_an_original_takes_its_parts_along(client: AsyncClient) -> None:
    parts = [
        {"id": f"x.pdf#{n}", "text": f"{n}", "metadata": {"source": "x.pdf", "start": n, "end": n + 1}}
        for n in range(3)
    ]
    await client.datasets.upload([*parts, {"id": "y", "text": "Y."}], id="documents")
    assert (await withdrawn(client, "documents", "x.pdf")).row_count == 1


async def test_an_original_that_was_split_goes_with_any_of_its_parts(
    client: AsyncClient, settings: AugmenterSettings
) -> None:
    """Split as an upload splits: the whole document lies beside the rows."""
    said = {name: " ".join(f"{name} says {n}." for n in range(40)) for name in ("one", "two", "three")}
    rows = [{"id": name, "text": text} for name, text in said.items()]
    made = await client.datasets.upload(rows, id="documents", splitting={"max_characters": 200})
    assert made.row_count > 6
    assert all(len(stored(settings, text)) == 1 for text in said.values())
    one = [row["id"] for row in await rows_of(client, "documents") if row["metadata"]["source"] == "one"]
    await withdrawn(client, "documents", one[1])
    assert not stored(settings, said["one"])
    assert stored(settings, said["two"])
    await withdrawn(client, "documents", "two")
    assert not stored(settings, "two says")
    assert stored(settings, said["three"])
    assert {row["metadata"]["source"] for row in await rows_of(client, "documents")} == {"one", "three"}
    (manifest,) = folder(settings).rglob("manifest.json")
    assert [file["name"] for file in json.loads(manifest.read_text())["files"]] == [
        "rows.jsonl",
        "originals.jsonl",
    ]


async def test_what_would_go_is_said_before(client: AsyncClient) -> None:
    await client.datasets.upload(ROWS, id="documents")
    operation = await withdraw(client, "documents", *GONE, validate_only=True)
    estimate = await operation.result()
    assert (operation.done, estimate.row_count) == (True, 2)
    assert "2 of 20 rows would go" in estimate.notes[0]
    assert len(await rows_of(client, "documents")) == 20


@pytest.mark.parametrize("validate_only", [True, False])
async def test_what_cannot_be_withdrawn_is_refused_and_changes_nothing(
    client: AsyncClient, settings: AugmenterSettings, validate_only: bool
) -> None:
    made = await client.datasets.upload(ROWS, id="documents")
    everything = [row["id"] for row in ROWS]
    for ids, reason, said in (
        ([*GONE, "nobody"], "ROW_NOT_FOUND", "no row 'nobody'"),
        (everything, "NOTHING_LEFT", "delete the dataset instead"),
    ):
        with pytest.raises((errors.NotFound, errors.Invalid, errors.OperationFailed), match=said) as caught:
            await withdrawn(client, "documents", *ids, validate_only=validate_only)
        assert caught.value.reason == reason
        assert await client.datasets.get("documents") == made  # ACTIVE, not FAILED
    assert len(await rows_of(client, "documents")) == 20
    assert len(list(folder(settings).rglob("rows.jsonl"))) == 1
    for name in ("none", "projects/other/datasets/documents"):
        asked = datasets_pb2.WithdrawRowsRequest(name=name if "/" in name else f"{PROJECT}/datasets/{name}")
        asked.row_ids.append("d1")
        with pytest.raises(errors.NotFound):
            await client.stubs.datasets.WithdrawRows(asked)
    with pytest.raises(errors.Invalid):
        await client.stubs.datasets.WithdrawRows(request("documents"))


async def test_the_same_request_is_one_withdrawal(client: AsyncClient) -> None:
    await client.datasets.upload(ROWS, id="documents")
    id = str(uuid.UUID(int=5))
    first = await withdraw(client, "documents", "d1", request_id=id)
    await first.result(timeout_s=30)
    again = await withdraw(client, "documents", "d1", request_id=id)
    assert (again.name, again.done) == (first.name, True)
    with pytest.raises(errors.Invalid, match="used before"):
        await withdraw(client, "documents", "d2", request_id=id)


async def test_one_withdrawal_at_a_time(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.augmenter.withdrawing import Withdrawing

    go = asyncio.Event()
    look_for = Withdrawing._look_for

    async def held(self: Withdrawing, *arguments: Any) -> Any:
        await go.wait()
        return await look_for(self, *arguments)

    monkeypatch.setattr(Withdrawing, "_look_for", held)
    await client.datasets.upload(ROWS, id="documents")
    first = await withdraw(client, "documents", "d1")
    with pytest.raises(errors.WrongState, match="wait for it") as caught:
        await withdraw(client, "documents", "d2")
    assert caught.value.reason == "DATASET_BUSY"
    # Nor is anything derived from rows that are about to go.
    with pytest.raises(errors.WrongState, match="rows are withdrawn"):
        await client.datasets.augment("documents", "", strategies=["reverse_words"])
    await first.cancel()
    with pytest.raises(errors.OperationCancelled):
        await first.result(timeout_s=30)
    go.set()
    assert (await client.datasets.get("documents")).state == common_pb2.ACTIVE
    assert (await withdrawn(client, "documents", "d2")).row_count == 19


async def test_who_reads_meanwhile_gets_old_rows_or_new_ones(client: AsyncClient) -> None:
    rows = [{"id": f"d{n}", "text": f"{n} " + "x" * 100_000} for n in range(60)]
    await client.datasets.upload(rows, id="documents")
    name = f"{PROJECT}/datasets/documents"
    reading = client.stubs.datasets.ReadRows(datasets_pb2.ReadRowsRequest(name=name))
    first = await anext(aiter(reading))
    made = await withdrawn(client, "documents", "d1", "d40")
    ids = [json.loads(row)["id"] for row in first.rows]
    async for message in reading:
        assert message.sha256 == first.sha256
        ids += [json.loads(row)["id"] for row in message.rows]
    assert ids == [row["id"] for row in rows]
    # Who was broken off and goes on would read a mixture; who begins anew reads the new ones.
    late = datasets_pb2.ReadRowsRequest(name=name, start_row=len(first.rows), sha256=first.sha256)
    with pytest.raises(errors.WrongState, match="from the first row") as caught:
        await anext(aiter(client.stubs.datasets.ReadRows(late)))
    assert caught.value.reason == "DATASET_CHANGED"
    fresh = [row["id"] for row in await rows_of(client, "documents")]
    assert fresh == [row["id"] for row in rows if row["id"] not in ("d1", "d40")]
    late.sha256 = made.sha256
    assert (await anext(aiter(client.stubs.datasets.ReadRows(late)))).sha256 == made.sha256


async def test_who_looked_before_and_opens_after_reads_the_new_ones(
    client: AsyncClient, settings: AugmenterSettings
) -> None:
    from servicekit.database import Database
    from servicekit.resources import Resources
    from servicekit.storage import open_storage
    from services.augmenter.datasets import Datasets

    await client.datasets.upload(ROWS, id="documents")
    database = Database(settings.database_url, schema="augmenter")
    datasets = Datasets(
        settings, open_storage(settings), Resources(database, datasets_pb2.Dataset, "datasets")
    )
    seen = await datasets.resources.get(f"{PROJECT}/datasets/documents")
    await withdrawn(client, "documents", "d0")
    lines = [json.loads(line)["id"] async for line in datasets.lines(seen)]
    await database.close()
    assert lines == [row["id"] for row in ROWS[1:]]


async def test_a_storage_that_is_away_is_waited_for_until_everything_is_erased(
    client: AsyncClient, settings: AugmenterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than an attempt may fail."""
    left = 6
    delete = FolderStorage.delete

    async def away(self: FolderStorage, key: str) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            raise Unavailable("STORAGE_UNREACHABLE", "the storage is away")
        await delete(self, key)

    await client.datasets.upload(ROWS, id="documents")
    monkeypatch.setattr(FolderStorage, "delete", away)
    monkeypatch.setattr(withdrawing, "ERASE_AGAIN_S", 0.05)
    made = await withdrawn(client, "documents", "d3")
    assert (left, made.withdrawn_row_count) == (-1, 1)
    assert not stored(settings, "secret-3 ")


async def test_cancelled_when_the_rows_are_out_the_rest_of_them_goes_all_the_same(
    client: AsyncClient, settings: AugmenterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, erasing = FolderStorage.delete, asyncio.Event()

    async def slow(self: FolderStorage, key: str) -> None:
        if not erasing.is_set():
            erasing.set()
            await asyncio.sleep(60)
        await delete(self, key)

    await client.datasets.upload(ROWS, id="documents")
    monkeypatch.setattr(FolderStorage, "delete", slow)
    operation = await withdraw(client, "documents", "d3")
    await asyncio.wait_for(erasing.wait(), 30)
    await operation.cancel()
    with pytest.raises(errors.OperationCancelled):
        await operation.result(timeout_s=30)
    assert (await client.datasets.get("documents")).withdrawn_row_count == 1
    assert len(await rows_of(client, "documents")) == 19
    assert not stored(settings, "secret-3 ")


BOUNDARIES = [
    "operations.after_create",
    "worker.after_note",
    "storage.after_rename:3",  # the upload has two objects before
    "augmenter.before_swap",
    "augmenter.after_swap",
    "augmenter.while_erasing",
    "worker.before_finish",
]


async def begun(user: AsyncClient) -> AsyncOperation:
    """The same request until somebody answers."""
    while True:
        try:
            return await withdraw(user, "documents", *GONE, request_id=str(uuid.UUID(int=7)))
        except errors.Unavailable:
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_killed_at_any_boundary_another_process_ends_it(
    settings: AugmenterSettings,
    run_service: Callable[..., Any],
    speak: Callable[..., AsyncClient],
    boundary: str,
) -> None:
    settings = settings.model_copy(update={"lease_s": 1.0})
    async with speak(f"127.0.0.1:{settings.port}") as user:
        doomed = run_service("augmenter", settings, failpoint=boundary)
        await user.datasets.upload(ROWS, id="documents")
        asked = asyncio.create_task(begun(user))
        assert await asyncio.to_thread(doomed.wait, 60) == -signal.SIGKILL
        await asyncio.to_thread(run_service, "augmenter", settings)
        made = await (await asked).result(timeout_s=60)
        assert await rows_of(user, "documents") == [row for row in ROWS if row["id"] not in GONE]
        assert (made.row_count, made.withdrawn_row_count) == (18, 2)
        for id in GONE:
            assert not stored(settings, ROWS[int(id[1:])]["text"])
        assert len(list(folder(settings).rglob("rows.jsonl"))) == 1


SPEC = {"strategies": ["rephrase", "link"], "group_key": "world", "temperature": 0.0, "max_tokens": 40}


async def augment(user: AsyncClient, id: str) -> datasets_pb2.Dataset:
    operation = await user.datasets.augment("documents", "small", id=id, **SPEC)
    return await operation.result(timeout_s=60)


async def test_outputs_of_prompts_that_read_the_rows_are_erased_and_only_they_are_asked_again(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    user, first = world.user, await augment(world.user, "first")
    gone = documents[0]
    outputs = f"{PROJECT}/outputs"
    before = outputs_of(world)
    validated = await withdraw(user, "documents", gone["id"], validate_only=True)
    await withdrawn(user, "documents", gone["id"])
    after = outputs_of(world)
    of_its_world = [d for d in documents if d["metadata"]["world"] == gone["metadata"]["world"]]
    # Its own rephrasing, and a link for each document of its world, all of which had it in sight.
    assert len(before) - len(after) == 1 + len(of_its_world)
    estimate = validated.metadata.estimate
    assert f"{1 + len(of_its_world)} outputs" in estimate.notes[0]
    second = await augment(user, "second")
    provenance = second.provenance
    assert first.provenance.prompt_count - provenance.prompt_count == 2
    assert provenance.prompt_count - provenance.reused_prompt_count == len(of_its_world) - 1
    assert provenance.source_sha256 != first.provenance.source_sha256
    assert len(list((folder(world.settings) / outputs).glob("*.json"))) >= 1


async def test_a_derivation_at_work_holds_a_withdrawal_off(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    trouble = world.behind.trouble
    trouble.held = {"Generate"}
    operation = await world.user.datasets.augment("documents", "small", id="late", **SPEC)
    await asyncio.wait_for(trouble.until_called("Generate"), 30)
    with pytest.raises(errors.WrongState, match="AugmentDataset is at work") as caught:
        await withdraw(world.user, "documents", documents[0]["id"])
    assert caught.value.metadata["operation"] == operation.name
    trouble.go.set()
    await operation.result(timeout_s=60)
    await withdrawn(world.user, "documents", documents[0]["id"])


async def test_what_a_model_derived_is_traced_through_groups(
    world: Any, documents: list[dict[str, Any]], trace: Callable[..., Awaitable[Any]]
) -> None:
    await augment(world.user, "first")
    gone = documents[0]
    rows = {row["id"]: row async for row in world.user.datasets.rows("first")}
    found = set((await trace(world.user, "documents", gone["id"]))["first"][1])
    for id, row in rows.items():
        of_it = gone["id"] in row["provenance"]["source_rows"]
        saw_it = (
            row["metadata"]["strategy"] == "link" and row["metadata"]["world"] == gone["metadata"]["world"]
        )
        assert (id in found) == (of_it or saw_it), row
    assert 0 < len(found) < len(rows)


def outputs_of(world: Any) -> list[str]:
    """Texts in the store."""
    objects = sorted((folder(world.settings) / PROJECT / "outputs").glob("*.json"))
    return [entry[0] for path in objects for entry in json.loads(path.read_text()) if entry]
