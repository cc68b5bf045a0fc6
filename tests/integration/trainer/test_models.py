"""Base models in: import, upload, refusal; over sockets, with SQLite and a folder."""

import json
import shutil

import pytest

from ingrain import errors
from ingrain.v1 import trainer_pb2
from services.trainer.files import ModelFile, digest

ACTIVE, FAILED = 2, 3


@pytest.fixture
def source(tmp_path, build_checkpoint):
    """A checkpoint under the folder that is open for imports; returns its folder."""

    def make(name="model", architecture="llama", **options):
        folder = tmp_path / "import" / name
        shutil.copytree(build_checkpoint(architecture, **options), folder)
        return folder

    return make


async def test_an_imported_folder_becomes_a_model(client, trainer, source, tmp_path):
    folder = source(architecture="qwen3", sharded=True, tied=False, chat_template=True)
    operation = await client.models.import_(f"file://{folder}", id="base", display_name="Base")
    model = await operation.result(90)
    assert model == await client.models.get("base")
    assert (model.name, model.state, model.display_name) == ("projects/demo/models/base", ACTIVE, "Base")
    assert (model.architecture, model.context_window) == ("Qwen3ForCausalLM", 256)
    assert (model.layer_count, model.hidden_size, model.chat_template) == (2, 32, True)
    assert model.source == f"file://{folder}"
    assert not model.HasField("training")

    stored = tmp_path / "storage" / model.uri.removeprefix(f"file://{tmp_path}/storage/")
    manifest = json.loads((stored / "manifest.json").read_text())
    listed = [ModelFile(**file) for file in manifest["files"]]
    assert {file.name for file in listed} == {path.name for path in folder.iterdir()}
    assert digest(listed) == model.sha256
    assert sum(file.size_bytes for file in listed) == model.size_bytes
    for file in listed:
        assert (stored / file.name).read_bytes() == (folder / file.name).read_bytes()


async def test_only_services_see_where_the_files_lie(trainer, client, source):
    await (await client.models.import_(f"file://{source()}", id="base")).result(90)
    assert (await client.models.get("base")).uri
    async with trainer.client(kind="user") as user:
        assert (await user.models.get("base")).uri == ""
        assert [model.uri async for model in user.models.list()] == [""]


async def test_an_upload_streams_the_files(client, build_checkpoint):
    operation = await client.models.upload(build_checkpoint("gpt2", sharded=True), id="sent")
    model = await operation.result(90)
    assert (model.state, model.architecture, model.source) == (ACTIVE, "GPT2LMHeadModel", "upload")
    imported = await client.models.get("sent")
    assert imported.sha256 == model.sha256


async def test_an_upload_sent_twice_is_kept_once(client, build_checkpoint, tmp_path):
    request_id = "0b6c3a52-5d0c-4d6e-8d1b-0a4b54b4a0aa"
    folder = build_checkpoint("llama")
    first = await client.models.upload(folder, request_id=request_id)
    again = await client.models.upload(folder, request_id=request_id)
    assert again.name == first.name
    model = await first.result(90)
    with pytest.raises(errors.AlreadyExists):
        await client.models.upload(folder, id=model.name.rsplit("/", 1)[1])
    stored = [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]
    assert len(stored) == len(list(folder.iterdir())) + 1, "the files once, and the manifest"


async def test_the_same_request_again_is_the_same_operation(client, source):
    request = trainer_pb2.ImportModelRequest(
        parent="projects/demo",
        source_uri=f"file://{source()}",
        request_id="5f0c9f0e-8f2a-4a53-9d6b-3f6f1f3f7a10",
    )
    first = await client.stubs.trainer.ImportModel(request)
    assert (await client.stubs.trainer.ImportModel(request)).name == first.name


async def test_bundled_models_are_imported_by_name(start_trainer, build_checkpoint, tmp_path):
    bundled = tmp_path / "bundled"
    shutil.copytree(build_checkpoint("llama"), bundled / "small")
    (bundled / "small" / "ingrain.json").write_text('{"domain": "invented-worlds"}')
    async with start_trainer(INGRAIN_BUNDLED_MODELS=str(bundled)).client() as client:
        model = await (await client.models.import_("bundled://small", id="small")).result(90)
        assert (model.domain, model.source) == ("invented-worlds", "bundled://small")
        with pytest.raises(errors.OperationFailed, match="there is: small"):
            await (await client.models.import_("bundled://large")).result(90)


async def test_a_model_from_the_hub_cache_needs_no_connection(start_trainer, build_checkpoint, tmp_path):
    """HF_HUB_OFFLINE with a read-only HF_HOME in the hub's own layout."""
    revision = "a" * 40
    cache = tmp_path / "hub-home" / "hub" / "models--acme--tiny"
    snapshot = cache / "snapshots" / revision
    shutil.copytree(build_checkpoint("llama"), snapshot)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(revision)
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub-home")}
    for folder in (snapshot, cache / "refs", cache, cache.parent, cache.parent.parent):
        folder.chmod(0o555)
    async with start_trainer(**environment).client() as client:
        model = await (await client.models.import_("acme/tiny", id="hub")).result(90)
        assert model.source == f"hf://acme/tiny@{revision}"
        with pytest.raises(errors.OperationFailed) as caught:
            await (await client.models.import_("acme/absent")).result(90)
        assert caught.value.reason == "HUB_OFFLINE"
    for folder in (cache.parent.parent, cache.parent, cache, cache / "refs", snapshot):
        folder.chmod(0o755)


async def test_validate_only_inspects_and_keeps_nothing(client, source):
    operation = await client.models.import_(f"file://{source()}", validate_only=True)
    assert operation.done
    assert "LlamaForCausalLM" in operation.metadata.estimate.notes[0]
    assert [model async for model in client.models.list()] == []


def break_config(folder):
    (folder / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')


def add_pickle(folder):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04\x95")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (break_config, "NO_CAUSAL_LM"),
        (add_pickle, "NOT_SAFETENSORS"),
        (lambda folder: (folder / "model.safetensors").unlink(), "NOT_SAFETENSORS"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "NO_TOKENIZER"),
    ],
)
async def test_a_bad_folder_fails_with_its_reason_and_the_server_lives(client, source, harm, reason):
    folder = source()
    harm(folder)
    operation = await client.models.import_(f"file://{folder}", id="bad")
    with pytest.raises(errors.OperationFailed) as caught:
        await operation.result(90)
    assert caught.value.reason == reason
    assert (await client.models.get("bad")).state == FAILED
    good = await client.models.import_(f"file://{source('good')}", id="good")
    assert (await good.result(90)).state == ACTIVE


async def test_nothing_outside_the_import_folder_is_read(client, source, tmp_path, build_checkpoint):
    outside = build_checkpoint("llama")
    inside = source("linked")
    (inside / "model.safetensors").unlink()
    (inside / "model.safetensors").symlink_to(outside / "model.safetensors")
    for uri in (f"file://{outside}", f"file://{tmp_path}/import/../secret", f"file://{inside}"):
        with pytest.raises(errors.OperationFailed) as caught:
            await (await client.models.import_(uri)).result(90)
        assert caught.value.reason == "OUTSIDE_IMPORT_ROOT"


async def sent(client, *payloads):
    header = trainer_pb2.UploadModelHeader(parent="projects/demo", model_id="sent")

    async def requests():
        for payload in ({"header": header}, *payloads):
            yield trainer_pb2.UploadModelRequest(**payload)

    return await client.stubs.trainer.UploadModel(requests())


@pytest.mark.parametrize(
    ("payloads", "reason"),
    [
        ([], "NO_FILES"),
        ([{"chunk": b"x"}], "CHUNK_WITHOUT_FILE"),
        ([{"file_name": "pytorch_model.bin"}], "NOT_SAFETENSORS"),
        ([{"file_name": "model.safetensors"}, {"chunk": b"\x80\x04\x95"}], "NOT_SAFETENSORS"),
        ([{"file_name": "config.json"}, {"chunk": b'{"architectures": ["T5Model"]}'}], "NO_CAUSAL_LM"),
        ([{"file_name": "config.json"}, {"chunk": b"{}"}, {"file_name": "config.json"}], "NO_CAUSAL_LM"),
    ],
)
async def test_a_bad_upload_is_refused_in_the_call_and_leaves_nothing(client, payloads, reason, tmp_path):
    with pytest.raises(errors.Invalid) as caught:
        await sent(client, *payloads)
    assert caught.value.reason == reason
    with pytest.raises(errors.NotFound):
        await client.models.get("sent")
    assert not any((tmp_path / "scratch").iterdir())


async def test_a_name_is_taken_once_and_a_deleted_model_is_gone(client, source):
    folder = source()
    await (await client.models.import_(f"file://{folder}", id="base")).result(90)
    with pytest.raises(errors.AlreadyExists):
        await client.models.import_(f"file://{folder}", id="base")
    await client.models.delete("base")
    with pytest.raises(errors.NotFound):
        await client.models.get("base")


async def test_an_import_goes_on_after_the_process_was_killed(trainer, client, source):
    """Killed at once after the operation was made: the next process does the work."""
    operation = await client.models.import_(f"file://{source()}", id="base")
    trainer.end(9)
    trainer.start()
    assert (await operation.result(90)).state == ACTIVE
