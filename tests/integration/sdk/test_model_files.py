"""Models up in parts and down into folders, over a socket to the fake platform."""

from pathlib import Path

import pytest

from ingrain import AsyncClient, Client, errors
from ingrain.model_files import PARTIAL, file_sha256, folder_sha256
from ingrain.testing import FakePlatform


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * (70 << 10))
    (folder / "empty.json").write_bytes(b"")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_what_goes_up_in_parts_comes_down_the_same(platform: FakePlatform, checkpoint: Path) -> None:
    down = checkpoint.parent / "down"
    async with AsyncClient(platform.target) as client:
        model = await (await client.models.upload(checkpoint, id="sent", parallel=4)).result(20)
        assert model.sha256 == folder_sha256({p.name: file_sha256(p) for p in checkpoint.iterdir()})
        assert await client.models.download("sent", down, parallel=2) == down
        assert contents(down) == contents(checkpoint)

        # What is there already is not fetched again; what is half there is gone on with.
        begun = (down / "config.json").stat().st_ino
        whole = (down / "model.safetensors").read_bytes()
        (down / "model.safetensors").unlink()
        (down / f"model.safetensors{PARTIAL}").write_bytes(whole[: 9 << 20])
        await client.models.download("sent", down)
        assert contents(down) == contents(checkpoint)
        assert (down / "config.json").stat().st_ino == begun

        # Bytes that are not those of the model are never given its name.
        (down / "model.safetensors").unlink()
        (down / f"model.safetensors{PARTIAL}").write_bytes(b"?" * 100)
        with pytest.raises(errors.Internal):
            await client.models.download("sent", down)
        assert not (down / "model.safetensors").exists()


def test_plain_code_and_the_command_line_download_too(
    ingrain, platform: FakePlatform, tmp_path: Path
) -> None:
    assert ingrain("model", "import", "org/small", "--id", "small").returncode == 0
    done = ingrain("model", "download", "small", str(tmp_path / "down"))
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "down"))
    assert {"README.md", "config.json"} == set(contents(tmp_path / "down"))
    with Client(platform.target) as client:
        client.models.import_endpoint("https://host/v1", "big", id="far").result(20)
        with pytest.raises(errors.WrongState, match="not here"):
            client.models.download("far", tmp_path / "far")
    refused = ingrain("model", "import", str(tmp_path), "--in-place")
    assert refused.returncode != 0
    assert "s3://" in refused.stderr
