"""Models up in parts, down file by file, and in place: over sockets, with the trainer killed in the middle."""

import asyncio
import hashlib
import io
import shutil
import signal
import time

import pytest
from minio import Minio

from ingrain import errors, model_files
from ingrain.v1 import trainer_pb2 as pb
from servicekit.database import Database
from servicekit.errors import NotFound, WrongState
from servicekit.model_files import manifest_folder
from servicekit.storage import open_storage
from services.trainer import files
from services.trainer.parts import Uploads
from services.trainer.settings import TrainerSettings

ACTIVE = 2
MIB = 1 << 20
PARENT = "projects/demo"


@pytest.fixture
def large(tmp_path, build_checkpoint):
    """A checkpoint of three parts and some small files; its weights are noise, which nobody computes with here."""
    import numpy as np
    from safetensors.numpy import save_file

    folder = tmp_path / "large"
    shutil.copytree(build_checkpoint("llama"), folder)
    noise = np.random.default_rng(1).integers(0, 255, 40 * MIB, np.uint8)
    save_file({"noise": noise}, folder / "model.safetensors")
    return folder


def sha256_of(folder):
    return model_files.folder_sha256({path.name: model_files.file_sha256(path) for path in folder.iterdir()})


@pytest.fixture
def parts_sent(client, monkeypatch):
    """Names and numbers of the parts that this client sends."""
    sent, real = [], client.stubs.trainer.UploadModelPart

    def counted(messages):
        messages = iter(messages)
        first = next(messages)
        sent.append((first.header.file_name, first.header.part_number))

        def all_of_them():
            yield first
            yield from messages

        return real(all_of_them())

    monkeypatch.setattr(client.stubs.trainer, "UploadModelPart", counted)
    return sent


@pytest.fixture
def slowly(monkeypatch):
    """Every MiB that is sent takes a twentieth of a second."""
    real = model_files.part_messages

    def slow(*arguments):
        for message in real(*arguments):
            time.sleep(0.05)
            yield message

    monkeypatch.setattr(model_files, "part_messages", slow)


def stored_parts(tmp_path):
    return [path for path in (tmp_path / "storage" / PARENT / "uploads").rglob("*") if path.is_file()]


async def test_a_large_folder_goes_up_in_parts_side_by_side(client, large, parts_sent, tmp_path):
    operation = await client.models.upload(large, id="large", parallel=3)
    model = await operation.result(120)
    assert (model.state, model.source, model.architecture) == (ACTIVE, "upload", "LlamaForCausalLM")
    assert model.sha256 == sha256_of(large)
    assert model.size_bytes == sum(path.stat().st_size for path in large.iterdir())
    assert sorted(parts_sent) == sorted(
        [("model.safetensors", number) for number in range(3)]
        + [(path.name, 0) for path in large.iterdir() if path.name != "model.safetensors"]
    )
    assert stored_parts(tmp_path) == [], "the parts went when the model was there"
    assert not any((tmp_path / "scratch").iterdir())
    with pytest.raises(errors.NotFound):
        await client.models.get("other")


async def test_an_upload_outlives_the_trainer_and_the_client(
    trainer, client, large, parts_sent, slowly, tmp_path, eventually
):
    """The client is stopped in the middle, the trainer is killed in the middle of what is left: whole parts are not sent again."""

    async def arrived(count):
        there = len(stored_parts(tmp_path))
        return there >= count and there

    async def settled():
        there = len(stored_parts(tmp_path))
        await asyncio.sleep(0.5)
        return there == len(stored_parts(tmp_path)) and there

    small = len(list(large.iterdir())) - 1
    first = asyncio.create_task(client.models.upload(large, id="large", parallel=2))
    await eventually(lambda: arrived(small), 60)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    kept = await eventually(settled, 60)
    parts_sent.clear()

    second = asyncio.create_task(client.models.upload(large, id="large", parallel=2))
    await eventually(lambda: started(parts_sent), 60)
    await asyncio.sleep(0.2)
    trainer.end(signal.SIGKILL)
    trainer.start()
    model = await (await second).result(120)
    assert model.sha256 == sha256_of(large)
    assert len(set(parts_sent)) == small + 3 - kept
    assert {name for name, _ in parts_sent} == {"model.safetensors"}
    stored = files_in_storage(tmp_path, model)
    assert {path.name: path.read_bytes() for path in large.iterdir()} == stored


async def started(sent):
    return bool(sent)


def files_in_storage(tmp_path, model):
    folder = tmp_path / "storage" / model.uri.removeprefix(f"file://{tmp_path}/storage/")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def announced(folder, **changes):
    return [
        pb.UploadFile(
            name=path.name,
            size_bytes=path.stat().st_size,
            sha256=changes.get(path.name, model_files.file_sha256(path)),
        )
        for path in folder.iterdir()
    ]


async def send(client, upload, name, number, content, sha256=None):
    header = pb.UploadModelPartHeader(
        parent=PARENT,
        upload_id=upload.upload_id,
        file_name=name,
        part_number=number,
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
    )
    messages = [pb.UploadModelPartRequest(header=header)]
    messages += [
        pb.UploadModelPartRequest(chunk=content[start : start + MIB]) for start in range(0, len(content), MIB)
    ]
    return await client.stubs.trainer.UploadModelPart(messages)


async def test_what_is_not_as_announced_is_refused(client, build_checkpoint, tmp_path):
    folder = build_checkpoint("llama")
    trainer = client.stubs.trainer
    start = pb.StartModelUploadRequest(
        parent=PARENT, files=announced(folder, **{"model.safetensors": "0" * 64})
    )
    upload = await trainer.StartModelUpload(start)
    config = (folder / "config.json").read_bytes()
    for name, number, content, sha256, reason in (
        ("config.json", 0, config, "0" * 64, "WRONG_PART_BYTES"),
        ("config.json", 0, config[:-1], None, "WRONG_PART_SIZE"),
        ("config.json", 0, config + b" ", None, "WRONG_PART_SIZE"),
        ("config.json", 1, config, None, "UNKNOWN_PART"),
        ("other.json", 0, config, None, "UNKNOWN_PART"),
        ("config.json", 0, b"{" + b" " * (len(config) - 2) + b"}", None, "NO_CAUSAL_LM"),
    ):
        with pytest.raises(errors.Invalid) as caught:
            await send(client, upload, name, number, content, sha256)
        assert caught.value.reason == reason
    assert stored_parts(tmp_path) == []

    finish = pb.FinishModelUploadRequest(parent=PARENT, upload_id=upload.upload_id, model_id="wrong")
    with pytest.raises(errors.WrongState) as caught:
        await trainer.FinishModelUpload(finish)
    assert caught.value.reason == "UPLOAD_INCOMPLETE"
    for path in folder.iterdir():
        await send(client, upload, path.name, 0, path.read_bytes())
    with pytest.raises(errors.OperationFailed) as failed:
        await client.operations.wait(await trainer.FinishModelUpload(finish), 60)
    assert failed.value.reason == "WRONG_FILE_BYTES"
    left = await trainer.StartModelUpload(start)
    assert {part.file_name for part in left.parts} == {
        path.name for path in folder.iterdir() if path.name != "model.safetensors"
    }
    model = await client.models.get("wrong")
    assert (model.state, model.uri) == (3, "")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["config.json", "tokenizer.json", "pytorch_model.bin"], "NOT_SAFETENSORS"),
        (["tokenizer.json", "model.safetensors"], "NO_CONFIG"),
        (["config.json", "model.safetensors"], "NO_TOKENIZER"),
        (["config.json", "tokenizer.json", "config.json"], "FILE_TWICE"),
        (["config.json", "tokenizer.json", "photo.jpg"], "NO_MODEL_FILE"),
    ],
)
async def test_what_can_be_no_model_is_told_before_it_travels(client, names, reason):
    listed = [pb.UploadFile(name=name, size_bytes=1, sha256="0" * 64) for name in names]
    with pytest.raises(errors.Invalid) as caught:
        await client.stubs.trainer.StartModelUpload(pb.StartModelUploadRequest(parent=PARENT, files=listed))
    assert caught.value.reason == reason


async def test_an_upload_that_nobody_goes_on_with_is_forgotten(tmp_path):
    settings = TrainerSettings(
        storage=f"file://{tmp_path}/storage", scratch=tmp_path / "scratch", upload_expiry_s=0.2
    )
    database = Database(f"sqlite:///{tmp_path}/t.db", schema="trainer")
    await database.create_all()
    uploads = Uploads(database, open_storage(settings), settings)
    listed = [
        pb.UploadFile(name=name, size_bytes=1, sha256="0" * 64) for name in ("config.json", "tokenizer.json")
    ]
    begun = await uploads.start(pb.StartModelUploadRequest(parent=PARENT, files=listed))
    found = await uploads.find(PARENT, begun.upload_id)
    await uploads.storage.put(found.key(found.files[0], 0), b"x")
    await uploads.forget_expired()
    assert len(stored_parts(tmp_path)) == 1
    await asyncio.sleep(0.3)
    await uploads.forget_expired()
    assert stored_parts(tmp_path) == []
    with pytest.raises(NotFound):
        await uploads.find(PARENT, begun.upload_id)
    await database.close()


async def test_a_download_is_the_same_bytes_and_goes_on_where_it_broke_off(client, large, tmp_path):
    await (await client.models.upload(large, id="large", parallel=4)).result(120)
    folder = tmp_path / "down"
    folder.mkdir()
    whole = (large / "model.safetensors").read_bytes()
    (folder / "model.safetensors.part").write_bytes(whole[: 25 * MIB])
    shutil.copy(large / "config.json", folder)
    received = []
    real = client.stubs.trainer.DownloadModel

    def watched(request):
        received.append((request.start_file, request.start_byte))
        return real(request)

    client.stubs.trainer.DownloadModel = watched
    assert await client.models.download("large", folder) == folder
    assert ("model.safetensors", 25 * MIB) in received
    assert ("config.json", 0) not in received
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in large.iterdir()
    }

    # What lies there is not what was stored: it is never taken for it.
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.part").write_bytes(b"?" * MIB)
    with pytest.raises(errors.Internal, match=r"model\.safetensors"):
        await client.models.download("large", folder)
    assert not (folder / "model.safetensors.part").exists()
    await client.models.download("large", folder)
    assert (folder / "model.safetensors").read_bytes() == whole


async def test_a_download_that_cannot_be_is_refused_clearly(client, build_checkpoint):
    await (await client.models.import_endpoint("http://127.0.0.1:9/v1", "x", id="far")).result(60)
    await (await client.models.upload(build_checkpoint("llama"), id="base")).result(60)
    for request, kind, reason in (
        (pb.DownloadModelRequest(name=f"{PARENT}/models/far"), errors.WrongState, "MODEL_HAS_NO_FILES"),
        (pb.DownloadModelRequest(name=f"{PARENT}/models/none"), errors.NotFound, "RESOURCE_NOT_FOUND"),
        (
            pb.DownloadModelRequest(name=f"{PARENT}/models/base", start_file="x"),
            errors.Invalid,
            "UNKNOWN_FILE",
        ),
        (
            pb.DownloadModelRequest(
                name=f"{PARENT}/models/base", start_file="config.json", start_byte=1 << 40
            ),
            errors.Invalid,
            "AFTER_THE_END",
        ),
    ):
        with pytest.raises(kind) as caught:
            _ = [piece async for piece in client.stubs.trainer.DownloadModel(request)]
        assert caught.value.reason == reason
    failed = await client.models.import_("file:///nowhere", id="failed")
    with pytest.raises(errors.OperationFailed):
        await failed.result(60)
    with pytest.raises(errors.WrongState, match="only an ACTIVE model"):
        await client.models.download("failed", "/tmp/never")


@pytest.fixture
def bucket(s3, build_checkpoint):
    """A user's bucket with a checkpoint under models/tiny, and things that are none of ours beside it."""
    outside = Minio(
        s3["INGRAIN_S3_ENDPOINT"], s3["INGRAIN_S3_ACCESS_KEY"], s3["INGRAIN_S3_SECRET_KEY"], secure=False
    )
    name = f"users-{time.time_ns()}"
    outside.make_bucket(name)
    folder = build_checkpoint("llama", sharded=True)
    for path in folder.iterdir():
        outside.fput_object(name, f"models/tiny/{path.name}", str(path))
    outside.put_object(name, "models/tiny/pytorch_model.bin", io.BytesIO(b"\x80\x02"), 2)
    outside.put_object(name, "models/tiny/runs/log.json", io.BytesIO(b"{}"), 2)
    outside.name, outside.folder = name, folder
    return outside


def objects(bucket):
    return {o.object_name: o.etag for o in bucket.list_objects(bucket.name, recursive=True)}


@pytest.mark.parametrize("own", ["folder", "s3"])
async def test_files_that_stay_in_place_are_read_there_and_never_touched(
    start_trainer, s3, bucket, own, tmp_path
):
    from services.inference.engine import files as engine_files
    from services.inference.wire import ModelRef

    before = objects(bucket)
    uri = f"s3://{bucket.name}/models/tiny"
    process = start_trainer(**s3, **({"INGRAIN_STORAGE": "s3://ingrain/own"} if own == "s3" else {}))
    settings = TrainerSettings(
        **{
            name.removeprefix("INGRAIN_").lower(): value
            for name, value in process.environment.items()
            if name.startswith("INGRAIN_")
        }
    )
    storage = open_storage(settings)
    async with process.client() as client:
        estimate = await client.models.import_(uri, validate_only=True, in_place=True)
        assert "LlamaForCausalLM" in estimate.metadata.estimate.notes[0]
        with pytest.raises(errors.Invalid, match="s3://"):
            await client.models.import_("bundled://small", in_place=True)
        model = await (await client.models.import_(uri, id="tiny", in_place=True)).result(90)
        assert (model.state, model.uri, model.source) == (ACTIVE, uri, uri)
        assert model.sha256 == sha256_of(bucket.folder)
        home = manifest_folder(storage, model.name, model.uri, model.sha256)
        kept = [entry.key async for entry in storage.list(f"{model.name}/")]
        assert kept == [f"{home}/manifest.json"]
        listed = await files.read_files(storage, home)
        assert all(before[f"models/tiny/{file.name}"].strip('"') == file.etag for file in listed)
        await client.models.download("tiny", tmp_path / "down")
        assert sha256_of(tmp_path / "down") == model.sha256

        ref = ModelRef(model.name, model.sha256, model.uri, False, 256, 1, 1, 1)
        trainers = await files.fetch(storage, home, tmp_path / "trainer", settings=settings)
        engines = await engine_files.fetch(storage, ref, tmp_path / "engine", settings)
        for folder in (trainers, engines):
            for path in bucket.folder.iterdir():
                assert (folder / path.name).read_bytes() == path.read_bytes()

        # The owner changes a file: no copy of it is made, and every reader says so.
        bucket.put_object(bucket.name, "models/tiny/config.json", io.BytesIO(b"{}"), 2)
        for read in (
            files.fetch(storage, home, tmp_path / "trainer-2", settings=settings),
            engine_files.fetch(storage, ref, tmp_path / "engine-2", settings),
        ):
            with pytest.raises(WrongState, match="not what was imported") as caught:
                await read
            assert caught.value.reason == "MODEL_CHANGED_IN_PLACE"
        with pytest.raises(errors.WrongState, match="not what was imported"):
            await client.models.download("tiny", tmp_path / "down-2")

        await client.models.delete("tiny")
        assert objects(bucket).keys() == before.keys()
