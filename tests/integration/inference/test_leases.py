"""Contexts that go when they are not used, and stay as long as they are."""

import asyncio
import time
from typing import Any

import pytest
from google.protobuf import duration_pb2

from ingrain import errors
from ingrain.v1 import inference_pb2

DATASET = "projects/demo/datasets/documents"
BASE = "projects/demo/models/base"
ITEM = inference_pb2.ScoreItem(prompt="the cemid is", choices=["smaller than the bralo.", "old."])


async def create(client: Any, id: str, seconds: float) -> inference_pb2.Context:
    context = inference_pb2.Context(model=BASE, dataset=DATASET)
    context.ttl.FromMilliseconds(int(seconds * 1000))
    request = inference_pb2.CreateContextRequest(parent="projects/demo", context_id=id, context=context)
    return await client.operations.wait(await client.stubs.inference.CreateContext(request))  # type: ignore[no-any-return]


async def get(client: Any, name: str) -> inference_pb2.Context:
    return await client.stubs.inference.GetContext(inference_pb2.GetContextRequest(name=name))  # type: ignore[no-any-return]


async def is_there(client: Any, name: str) -> bool:
    try:
        return bool((await get(client, name)).name)
    except errors.NotFound:
        return False


async def test_a_context_stays_while_it_is_used_and_goes_afterwards(client: Any) -> None:
    context = await create(client, "leased", 8.0)
    before = (await get(client, context.name)).expire_time.ToMilliseconds() / 1000
    assert before == pytest.approx(time.time() + 8.0, abs=2.0)
    score = inference_pb2.ScoreRequest(model=BASE, context=context.name, items=[ITEM])
    for _ in range(4):
        await asyncio.sleep(1.0)
        await client.stubs.inference.Score(score)
    later = (await get(client, context.name)).expire_time.ToMilliseconds() / 1000
    assert later > before + 2.0
    while await is_there(client, context.name):
        assert time.time() < later + 20
        await asyncio.sleep(0.5)
    assert time.time() >= later
    with pytest.raises(errors.NotFound):
        await client.stubs.inference.Score(score)


async def test_without_a_lease_nothing_expires_and_too_short_ones_are_refused(client: Any) -> None:
    request = inference_pb2.CreateContextRequest(
        parent="projects/demo", context_id="kept", context=inference_pb2.Context(model=BASE, dataset=DATASET)
    )
    context = await client.operations.wait(await client.stubs.inference.CreateContext(request))
    assert not (await get(client, context.name)).HasField("expire_time")
    request.context_id = "short"
    request.context.ttl.CopyFrom(duration_pb2.Duration(nanos=1))
    with pytest.raises(errors.Invalid) as caught:
        await client.stubs.inference.CreateContext(request)
    assert caught.value.reason == "TTL_TOO_SHORT"
    assert [violation.field for violation in caught.value.field_violations] == ["context.ttl"]
