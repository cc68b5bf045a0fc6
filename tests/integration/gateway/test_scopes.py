"""What a key may do besides all or reading, and that no key makes one that may do more or lasts longer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingrain import errors
from ingrain.keys import scopes_of, state_of
from ingrain.v1 import inference_pb2, projects_pb2

WEEK = timedelta(days=7)


async def test_an_applications_key_asks_and_does_nothing_else(closed: Any) -> None:
    made = await closed.new_key(scopes=["ASK"])
    async with closed.client(made.secret) as client:
        with pytest.raises(errors.Unavailable):  # let in; nobody is behind the door here
            await client.stubs.inference.Generate(inference_pb2.GenerateRequest())
        for call in (client.models.get("m"), client.models.delete("m"), client.keys.create()):
            with pytest.raises(errors.PermissionDenied) as caught:
                await call
            assert caught.value.reason == "OUT_OF_SCOPE"
        with pytest.raises(errors.PermissionDenied, match="ask"):
            [key async for key in client.keys.list()]


async def test_writing_is_reading_and_asking_too_but_no_keys(closed: Any) -> None:
    made = await closed.new_key(scopes=["WRITE"])
    async with closed.client(made.secret) as client:
        assert await client.models.get("m")
        assert (await client.datasets.upload([{"id": "a", "text": "b"}], "docs")).size_bytes
        with pytest.raises(errors.Unavailable):
            await client.stubs.inference.Generate(inference_pb2.GenerateRequest())
        assert [key.name async for key in client.keys.list()] == [made.key.name]
        for call in (client.keys.create(), client.keys.revoke(made.key.name)):
            with pytest.raises(errors.PermissionDenied):
                await call


async def test_no_key_makes_one_that_may_more(closed: Any) -> None:
    made = await closed.new_key(scopes=["WRITE", "KEYS"])
    async with closed.client(made.secret) as client:
        assert scopes_of((await client.keys.create("reads", read_only=True)).key) == ["read"]
        assert scopes_of((await client.keys.create("asks", scopes=["ask"])).key) == ["ask"]
        with pytest.raises(errors.PermissionDenied, match="everything"):
            await client.keys.create("more")
    only_keys = await closed.new_key(scopes=["KEYS"])
    async with closed.client(only_keys.secret) as client:
        with pytest.raises(errors.PermissionDenied):
            await client.keys.create("more", scopes=["write"])
        with pytest.raises(errors.PermissionDenied):
            await client.models.get("m")
        assert (await client.keys.revoke(made.key.name)).HasField("revoke_time")


async def test_no_key_makes_one_that_outlives_it(closed: Any) -> None:
    async with closed.client("operator-token") as client:
        made = await client.keys.create("a week", expire_time=WEEK)
    async with closed.client(made.secret) as client:
        for longer in (None, 2 * WEEK):
            with pytest.raises(errors.Invalid) as caught:
                await client.keys.create("longer", expire_time=longer)
            assert caught.value.reason == "OUTLIVES_ITS_MAKER"
        shorter = await client.keys.create("a day", expire_time=timedelta(days=1))
        assert shorter.key.expire_time.ToSeconds() < made.key.expire_time.ToSeconds()


async def test_a_key_ends_by_itself(closed: Any) -> None:
    async with closed.client("operator-token") as client:
        ended = await client.keys.create("ended", expire_time=datetime.now(UTC) - timedelta(seconds=1))
        states = {key.display_name: state_of(key) async for key in client.keys.list()}
    assert states == {"ended": "expired"}
    async with closed.client(ended.secret) as client:
        with pytest.raises(errors.Unauthenticated) as caught:
            await client.models.get("m")
    assert caught.value.reason == "KEY_EXPIRED"


@pytest.mark.parametrize("scopes", [[0], [99], [1, 1]])
async def test_a_scope_that_is_none_is_refused(closed: Any, scopes: list[int]) -> None:
    key = projects_pb2.Key(scopes=scopes)
    async with closed.client("operator-token") as client:
        with pytest.raises(errors.Invalid):
            await client.stubs.keys.CreateKey(
                projects_pb2.CreateKeyRequest(parent="projects/default", key=key)
            )
