"""What a deleted dataset leaves goes, when nothing that is there needs it."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2 as pb
from services.augmenter import sweeping as sweeping_module
from services.augmenter.__main__ import assemble
from services.augmenter.settings import AugmenterSettings
from services.augmenter.sweeping import Sweeping

ROWS = [{"id": f"d{n}", "text": f"secret-{n} is told here."} for n in range(3)]


@pytest.fixture
async def sweeping(settings: AugmenterSettings) -> AsyncIterator[Sweeping]:
    parts = await assemble(settings)
    yield parts.sweeping
    await parts.database.close()


def stored(settings: AugmenterSettings, text: str) -> list[str]:
    root = Path(settings.storage.removeprefix("file://"))
    return [str(path) for path in root.rglob("*") if path.is_file() and text in path.read_text()]


async def test_bytes_of_a_deleted_dataset_go_after_a_while(
    client: AsyncClient, settings: AugmenterSettings, sweeping: Sweeping
) -> None:
    await client.datasets.upload(ROWS, id="documents")
    await client.datasets.upload([{"id": "x", "text": "other"}], id="other")
    assert await sweeping.sweep(0.0) == []
    await client.datasets.delete("documents")
    assert await sweeping.sweep(3600.0) == []
    assert stored(settings, "secret-1")
    assert await sweeping.sweep(-1.0) == ["projects/demo/datasets/documents"]
    assert not stored(settings, "secret-1")
    assert await sweeping.sweep(-1.0) == []
    assert [row async for row in client.datasets.rows("other")]
    with pytest.raises(errors.AlreadyExists):  # the name stays taken
        await client.datasets.upload(ROWS, id="documents")


async def test_what_others_were_derived_of_stays_until_they_go(
    client: AsyncClient,
    settings: AugmenterSettings,
    sweeping: Sweeping,
    derive: Callable[..., Awaitable[None]],
    trace: Callable[..., Awaitable[Any]],
) -> None:
    await client.datasets.upload(ROWS, id="documents")
    for id, source, of in (("first", "documents", "d1"), ("second", "first", "f")):
        row = {"id": id[0], "text": f"of {of}", "provenance": {"source_rows": [of]}}
        await derive(client, id, source, [row, {**row, "id": "else", "provenance": {"source_rows": ["d0"]}}])
    await client.datasets.delete("first")
    assert await sweeping.sweep(-1.0) == []
    assert (await trace(client, "documents", "d1"))["second"] == (2, ["s"])
    await client.datasets.delete("second")
    await sweeping.sweep(-1.0)
    await sweeping.sweep(-1.0)
    assert not stored(settings, "of d1")


async def test_outputs_go_with_texts_that_no_other_dataset_has(
    world: Any, settings: AugmenterSettings, documents: list[dict[str, Any]], sweeping: Sweeping
) -> None:
    """Replacing documents by others of which one is new does not make anybody pay for the rest again."""
    spec: dict[str, Any] = {"strategies": ["rephrase"], "temperature": 0.0, "max_tokens": 40}
    first = await (await world.user.datasets.augment("documents", "small", id="first", **spec)).result(60)
    await world.user.datasets.upload(documents[1:], id="replaced")
    await world.user.datasets.delete("first")
    await world.user.datasets.delete("documents")
    while await sweeping.sweep(-1.0):
        pass
    again = await (await world.user.datasets.augment("replaced", "small", id="second", **spec)).result(60)
    assert again.provenance.prompt_count == again.provenance.reused_prompt_count
    assert first.provenance.prompt_count == again.provenance.prompt_count + 1
    root = Path(settings.storage.removeprefix("file://"))
    kept = [entry for path in root.rglob("outputs/*.json") for entry in json.loads(path.read_text()) if entry]
    assert len(kept) == again.provenance.prompt_count


async def test_every_dataset_is_read_once_however_many_were_deleted(
    client: AsyncClient, settings: AugmenterSettings, sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        rows = [{"id": "a", "text": f"text {number}."}, {"id": "b", "text": "of all."}]
        await client.datasets.upload(rows, id=f"d{number}")
    for number in range(3):
        await client.datasets.delete(f"d{number}")
    reads: Counter[str] = Counter()
    storage = sweeping.datasets.storage
    stream = storage.stream

    def counted(key: str, *args: Any) -> AsyncIterator[bytes]:
        reads[key.split("/")[3]] += 1
        return stream(key, *args)

    monkeypatch.setattr(storage, "stream", counted)
    assert len(await sweeping.sweep(-1.0)) == 3
    assert reads == {f"d{number}": 1 for number in range(6)}
    assert not stored(settings, "text 2.")
    assert stored(settings, "text 3.")


def test_datasets_are_swept_together_up_to_a_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping_module, "ROWS_AT_ONCE", 10)
    of = [("a", 4), ("b", 12), ("a", 6), ("a", 1), ("b", 3)]
    due = [
        pb.Dataset(name=f"projects/{project}/datasets/d{n}", row_count=count)
        for n, (project, count) in enumerate(of)
    ]
    runs = [[dataset.name.rpartition("/")[2] for dataset in run] for run in sweeping_module.runs(due)]
    assert runs == [["d0", "d2"], ["d3"], ["d1"], ["d4"]]
