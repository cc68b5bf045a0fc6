"""Models as resources: what may be deleted while others need it."""

from typing import Any

import pytest

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import WrongState

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
