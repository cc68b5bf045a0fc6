"""Models as resources: what may be deleted while others need it, and how large one may be."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import Exhausted, WrongState
from services.trainer import uploads
from services.trainer.files import ModelFile
from services.trainer.parts import Uploads
from services.trainer.settings import TrainerSettings

BASE = "projects/p/models/base"


@pytest.mark.parametrize(
    ("state", "adapter", "refused"),
    [
        (common_pb2.CREATING, False, "is being trained from projects/p/models/base"),
        (common_pb2.VERIFYING, True, "is being trained from projects/p/models/base"),
        (common_pb2.ACTIVE, True, "is an adapter of projects/p/models/base"),
        (common_pb2.ACTIVE, False, ""),
        (common_pb2.FAILED, True, ""),
    ],
)
async def test_a_model_that_others_need_stays(desk: Any, state: int, adapter: bool, refused: str) -> None:
    other = trainer_pb2.Model(name="projects/p/models/m", base_model=BASE, state=state, adapter=adapter)
    await desk.rows.insert(other)
    if refused:
        with pytest.raises(WrongState, match=refused) as caught:
            await desk.models.delete(BASE)
        assert caught.value.reason == "MODEL_IN_USE"
        return
    await desk.models.delete(BASE)
    assert [model.name for model in (await desk.rows.list("projects/p", 10, ""))[0]] == [other.name]


async def test_a_model_over_the_limit_is_refused_whichever_way_it_is_sent(desk: Any, tmp_path: Path) -> None:
    settings = TrainerSettings(
        storage=f"file://{tmp_path}/storage",
        scratch=tmp_path / "scratch",
        model_size_limit_bytes=2_000_000,
    )
    names = ("config.json", "tokenizer.json", "model.safetensors")

    async def in_one_stream() -> None:
        (folder := tmp_path / "spooled").mkdir()
        await uploads.spool(weights(), folder, settings)

    async def weights() -> AsyncIterator[uploads.Request]:
        yield uploads.Request(file_name="model.safetensors")
        for _ in range(3):
            yield uploads.Request(chunk=b" " * 700_000)

    async def in_parts() -> None:
        listed = [ModelFile(name, 700_000, "0" * 64) for name in names]
        Uploads(desk.database, desk.storage, settings).refuse(listed)

    for door in (in_one_stream, in_parts):
        with pytest.raises(Exhausted, match="more than the 2 MB that this platform takes"):
            await door()
