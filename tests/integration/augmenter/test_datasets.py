"""Rows in and rows out: nothing lost, nothing cut, and what is wrong is named by row and field."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, datasets_pb2
from services.augmenter.settings import AugmenterSettings

PROJECT = "projects/demo"
DOCUMENT = {"id": "d", "text": "x"}
PROBE = {"id": "p", "kind": "k", "prompt": "x", "choices": ["a", "b"], "answer": "a"}


async def send(client: AsyncClient, *chunks: bytes, **header: Any) -> datasets_pb2.Dataset:
    """An upload as a client in another language may send it."""

    def messages() -> Any:
        yield datasets_pb2.UploadDatasetRequest(
            header=datasets_pb2.UploadDatasetHeader(parent=PROJECT, **header)
        )
        for chunk in chunks:
            yield datasets_pb2.UploadDatasetRequest(chunk=chunk)

    return await client.stubs.datasets.UploadDataset(messages())


async def rows_of(client: AsyncClient, dataset: str) -> list[dict[str, Any]]:
    return [row async for row in client.datasets.rows(dataset)]


async def test_what_was_uploaded_comes_back(client: AsyncClient, settings: AugmenterSettings) -> None:
    rows = [
        {"id": "ünï", "text": "第一行\nzweite Zeile\t\u2028🦜 end ", "metadata": {"n": 1, "x": None}},
        {"id": "big", "text": "long " * 300_000, "metadata": {"nested": {"a": [1, 2.5, "é"]}}},
        {"text": 'quotes " and \\ backslashes', "extra": [True, {}]},
    ]
    made = await client.datasets.upload(rows, id="mine", display_name="Meine Zeilen", labels={"a": "b"})
    assert (made.name, made.kind, made.state) == (
        f"{PROJECT}/datasets/mine",
        datasets_pb2.Dataset.DOCUMENTS,
        common_pb2.ACTIVE,
    )
    assert (made.display_name, dict(made.labels), made.row_count, made.uri) == (
        "Meine Zeilen",
        {"a": "b"},
        3,
        "",
    )
    assert await rows_of(client, "mine") == [*rows[:2], rows[2] | {"id": "row-000003"}]
    stored = list(Path(settings.storage.removeprefix("file://")).rglob("rows.jsonl"))
    assert len(stored) == 1
    raw = stored[0].read_bytes()
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (made.size_bytes, made.sha256)
    assert json.loads(stored[0].with_name("manifest.json").read_text())["row_count"] == 3


async def test_lines_cross_chunks_at_any_byte(client: AsyncClient) -> None:
    rows = [{"id": str(i), "text": "ä🦜" * (i + 1)} for i in range(5)]
    raw = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    await send(client, *(raw[i : i + 1] for i in range(len(raw))), dataset_id="bytewise")
    assert await rows_of(client, "bytewise") == rows


text = st.text(min_size=1).filter(str.strip)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(text, st.dictionaries(st.text(), json_values, max_size=3)), min_size=1, max_size=5))
async def test_any_documents_come_back(client: AsyncClient, given_rows: list[Any]) -> None:
    rows = [{"id": f"d{i}", "text": t, "metadata": m} for i, (t, m) in enumerate(given_rows)]
    made = await client.datasets.upload(rows)
    assert await rows_of(client, made.name) == rows


async def test_rows_are_read_in_pieces_that_fit_messages(client: AsyncClient) -> None:
    rows = [{"id": str(i), "text": "字" * 50_000} for i in range(20)]  # three bytes each
    await client.datasets.upload(rows, id="wide")
    request = datasets_pb2.ReadRowsRequest(name=f"{PROJECT}/datasets/wide")
    messages = [message async for message in client.stubs.datasets.ReadRows(request)]
    assert len(messages) > 3
    assert all(message.ByteSize() < 1 << 20 for message in messages)
    assert [m.start_row for m in messages] == [
        sum(len(e.rows) for e in messages[:i]) for i in range(len(messages))
    ]
    assert [row["id"] async for row in client.datasets.rows("wide", start=7, limit=6)] == [
        *map(str, range(7, 13))
    ]
    assert [row async for row in client.datasets.rows("wide", start=20)] == []


BAD = [
    ([], "EMPTY_DATASET", "rows"),
    ([b"\n \n"], "EMPTY_DATASET", "rows"),
    ([DOCUMENT, {"id": "e", "prompt": "x", "completion": "y"}], "MISSING_FIELD", "rows[1].text"),
    ([DOCUMENT, {"id": "e", "text": 3}], "WRONG_TYPE", "rows[1].text"),
    ([DOCUMENT, {"id": "e", "text": "y"}, DOCUMENT], "DUPLICATE_ID", "rows[2].id"),
    ([PROBE, PROBE | {"id": "q", "answer": "c"}], "ANSWER_NOT_A_CHOICE", "rows[1].answer"),
    ([DOCUMENT, b"{nonsense"], "NOT_JSON", "rows[1]"),
    ([DOCUMENT, b'{"text": "\xff"}'], "NOT_UTF8", "rows[1]"),
    ([DOCUMENT, b'{"text": "half: \\ud83e"}'], "NOT_JSON", "rows[1]"),
    ([DOCUMENT, b'{"text": "x", "metadata": {"n": 1e999}}'], "NOT_JSON", "rows[1]"),
    ([DOCUMENT, b'{"text": "' + b"x" * (3 << 20) + b'"}'], "ROW_TOO_LONG", "rows[1]"),
]


@pytest.mark.parametrize(
    ("rows", "reason", "field"), BAD, ids=[f"{reason}-{i}" for i, (_, reason, _) in enumerate(BAD)]
)
async def test_wrong_rows_are_named_and_nothing_is_made(
    client: AsyncClient, settings: AugmenterSettings, rows: list[Any], reason: str, field: str
) -> None:
    raw = b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    chunks = [raw[i : i + (1 << 20)] for i in range(0, len(raw), 1 << 20)]
    with pytest.raises(errors.Invalid) as caught:
        await send(client, *chunks, dataset_id="bad")
    assert caught.value.reason == reason
    assert [violation.field for violation in caught.value.field_violations] == [field]
    if "[" in field:
        assert caught.value.message.startswith(f"row {int(field[5]) + 1} ")
    assert [dataset async for dataset in client.datasets.list()] == []
    assert not list(Path(settings.storage.removeprefix("file://")).rglob("*.jsonl"))
    await send(client, json.dumps(DOCUMENT).encode(), dataset_id="bad")  # the id is still free


async def test_uploads_that_are_no_uploads_are_refused(client: AsyncClient) -> None:
    line = json.dumps(DOCUMENT).encode()
    header = datasets_pb2.UploadDatasetRequest(header=datasets_pb2.UploadDatasetHeader(parent=PROJECT))
    chunk = datasets_pb2.UploadDatasetRequest(chunk=line)
    for messages, reason in (
        ([chunk], "NO_HEADER"),
        ([], "NO_HEADER"),
        ([header, chunk, header], "SECOND_HEADER"),
    ):
        with pytest.raises(errors.Invalid) as caught:
            await client.stubs.datasets.UploadDataset(iter(messages))
        assert caught.value.reason == reason
    for chunks, header_fields, kind, reason in (
        ([line], {"sha256": "0" * 64}, errors.Invalid, "SHA256_MISMATCH"),
        ([b"x" * ((1 << 20) + 1)], {}, errors.Invalid, "INVALID_REQUEST"),
        ([b"x" * (5 << 20)], {}, errors.Exhausted, None),  # more than gRPC takes at all
        (
            [line],
            {"dataset": datasets_pb2.Dataset(kind=datasets_pb2.Dataset.PROBES)},
            errors.Invalid,
            "MISSING_FIELD",
        ),
        ([line], {"dataset_id": "Not A Name"}, errors.Invalid, "INVALID_REQUEST"),
    ):
        with pytest.raises(kind) as caught:
            await send(client, *chunks, **header_fields)
        assert reason in (None, caught.value.reason)
    assert [dataset async for dataset in client.datasets.list()] == []


async def test_names_are_given_once_and_requests_answered_twice(client: AsyncClient) -> None:
    request_id = "2f1c5b0e-7f0b-4a51-9d5c-4b3c1c1f8a10"
    first = await client.datasets.upload([DOCUMENT], id="taken", request_id=request_id)
    assert await client.datasets.upload([DOCUMENT], id="taken", request_id=request_id) == first
    with pytest.raises(errors.Invalid) as reused:
        await client.datasets.upload([DOCUMENT | {"text": "y"}], id="taken", request_id=request_id)
    assert reused.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(errors.AlreadyExists) as caught:
        await client.datasets.upload([DOCUMENT], id="taken")
    assert caught.value.reason == "NAME_TAKEN"
    await client.datasets.delete("taken")
    with pytest.raises(errors.NotFound):
        await rows_of(client, "taken")
    with pytest.raises(errors.AlreadyExists):
        await client.datasets.upload([DOCUMENT], id="taken")


async def test_datasets_are_listed_newest_first_in_pages(client: AsyncClient) -> None:
    for i in range(5):
        await client.datasets.upload([DOCUMENT], id=f"d-{i}")
    assert [d.name.rsplit("-", 1)[1] async for d in client.datasets.list(page_size=2)] == [*"43210"]


async def test_another_project_sees_nothing(
    client: AsyncClient, settings: AugmenterSettings, speak: Callable[..., AsyncClient]
) -> None:
    made = await client.datasets.upload([DOCUMENT], id="mine")
    target = f"127.0.0.1:{settings.port}"
    async with speak(target, project="projects/other") as other, speak(target, kind="service") as service:
        for call in (
            other.datasets.get(made.name),
            rows_of(other, made.name),
            other.datasets.delete(made.name),
        ):
            with pytest.raises(errors.NotFound):
                await call
        assert (await service.datasets.get(made.name)).uri.startswith(settings.storage)
    assert await rows_of(client, "mine") == [DOCUMENT]


async def test_files_are_imported(client: AsyncClient, settings: AugmenterSettings) -> None:
    root = settings.import_root
    assert root is not None
    (root / "docs" / "sub").mkdir(parents=True)
    (root / "docs" / "a.md").write_text("\ufeff# Título\n\nText. ", encoding="utf-8")
    (root / "docs" / "b.txt").write_text("Zeile 1\nZeile 2\n")
    (root / "docs" / "empty.txt").write_text(" \n")
    (root / "docs" / "picture.png").write_bytes(b"\x89PNG")
    (root / "docs" / "sub" / "rows.jsonl").write_text(
        '{"id": "r", "text": "from rows"}\n\n{"text": "no id"}\n'
    )
    uri = f"file://{root}/docs"
    rehearsed = await client.datasets.import_(uri, id="docs", validate_only=True)
    assert "4 files" in rehearsed.metadata.estimate.notes[0]
    assert [dataset async for dataset in client.datasets.list()] == []

    made = await (await client.datasets.import_(uri, id="docs")).result(timeout_s=30)
    assert (made.state, made.row_count) == (common_pb2.ACTIVE, 4)
    assert dict(made.counts) == {
        "documents from .md": 1,
        "documents from .txt": 1,
        "files .jsonl": 1,
        "skipped empty files": 1,
        "skipped.png": 1,
    }
    assert await rows_of(client, "docs") == [
        {"id": "a.md", "text": "# Título\n\nText.", "metadata": {"path": "a.md"}},
        {"id": "b.txt", "text": "Zeile 1\nZeile 2", "metadata": {"path": "b.txt"}},
        {"id": "r", "text": "from rows"},
        {"id": "row-000004", "text": "no id"},
    ]
    one = await (await client.datasets.import_(f"{uri}/b.txt")).result(timeout_s=30)
    assert one.row_count == 1


async def test_sources_that_cannot_be_imported_are_named(
    client: AsyncClient, settings: AugmenterSettings
) -> None:
    root = settings.import_root
    assert root is not None
    (root / "bad.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "b", "text": 4}\n')
    (root / "latin.txt").write_bytes(b"\xe9t\xe9")
    (root / "image.png").write_bytes(b"x")
    (root.parent / "secret.txt").write_text("outside")
    (root / "leak.txt").symlink_to(root.parent / "secret.txt")
    (root / "folder").mkdir()
    (root / "folder" / "leak.txt").symlink_to(root.parent / "secret.txt")
    for source, reason, field in (
        ("bad.jsonl", "WRONG_TYPE", "rows[1].text"),
        ("latin.txt", "NOT_UTF8", "source_uri"),
        ("image.png", "NOTHING_TO_IMPORT", "source_uri"),
        ("none.txt", "SOURCE_NOT_FOUND", None),
        ("../secret.txt", "OUTSIDE_IMPORT_ROOT", "source_uri"),
        ("%2e%2e/secret.txt", "OUTSIDE_IMPORT_ROOT", "source_uri"),
        ("leak.txt", "OUTSIDE_IMPORT_ROOT", "source_uri"),
        ("folder", "NOTHING_TO_IMPORT", "source_uri"),
    ):
        operation = await client.datasets.import_(f"file://{root}/{source}")
        with pytest.raises(errors.OperationFailed) as caught:
            await operation.result(timeout_s=30)
        assert caught.value.reason == reason, source
        assert [v.field for v in caught.value.field_violations] == ([field] if field else [])
        failed = await client.datasets.get(operation.metadata.target)
        assert failed.state == common_pb2.FAILED
        with pytest.raises(errors.WrongState):
            await rows_of(client, failed.name)
