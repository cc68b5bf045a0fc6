"""One suite, two databases: resources by name, in pages, once per request id."""

import asyncio
from typing import Any

import pytest

from ingrain.v1 import trainer_pb2 as pb
from servicekit.database import Database
from servicekit.errors import AlreadyExists, Invalid, NotFound
from servicekit.resources import GREATEST_PAGE, encode_token

Service = Any  # of conftest.py
UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def model(id: str = "m", project: str = "p", **fields: Any) -> pb.Model:
    return pb.Model(name=f"projects/{project}/models/{id}", **fields)


async def test_what_is_inserted_is_got(service: Service) -> None:
    await service.models.insert(model(display_name="Größe"))
    assert await service.models.get("projects/p/models/m") == model(display_name="Größe")


@pytest.mark.parametrize("name", ["projects/p/models/none", "projects/q/models/m", "projects/p/models/", ""])
async def test_what_is_not_there_is_not_found(service: Service, name: str) -> None:
    await service.models.insert(model())
    with pytest.raises(NotFound):
        await service.models.get(name)


async def test_deleted_is_hidden_and_its_name_stays_taken(service: Service) -> None:
    await service.models.insert(model())
    await service.models.delete("projects/p/models/m")
    for call in (
        service.models.get("projects/p/models/m"),
        service.models.delete("projects/p/models/m"),
        service.models.update("projects/p/models/m", lambda found: None),
    ):
        with pytest.raises(NotFound):
            await call
    assert await service.models.list("projects/p") == ([], "")
    with pytest.raises(AlreadyExists):
        await service.models.insert(model())


async def test_pages_are_newest_first_and_do_not_shift(service: Service) -> None:
    for i in range(7):
        await service.models.insert(model(f"m{i}"))
    await service.models.insert(model("foreign", "other"))
    first, token = await service.models.list("projects/p", 3, "")
    await service.models.insert(model("late"))
    await service.models.delete("projects/p/models/m3")
    rest, end = await service.models.list("projects/p", 3, token)
    names = [found.name.rpartition("/")[2] for found in first + rest]
    assert names == ["m6", "m5", "m4", "m2", "m1", "m0"]
    assert end == ""


async def test_a_page_has_fifty_unless_asked_otherwise(service: Service) -> None:
    for i in range(60):
        await service.models.insert(model(f"m{i}"))
    assert len((await service.models.list("projects/p"))[0]) == 50
    assert len((await service.models.list("projects/p", GREATEST_PAGE * 10))[0]) == 60


@pytest.mark.parametrize(
    "token", ["x", "ä", "MTIz!", encode_token(0), encode_token(-5), encode_token(1 << 80)]
)
async def test_tokens_that_no_list_gave(service: Service, token: str) -> None:
    with pytest.raises(Invalid) as caught:
        await service.models.list("projects/p", 3, token)
    assert caught.value.field == "page_token"


async def test_a_negative_page_is_refused(service: Service) -> None:
    with pytest.raises(Invalid) as caught:
        await service.models.list("projects/p", -1)
    assert caught.value.field == "page_size"


async def test_a_request_id_makes_one_resource(service: Service, other: Service) -> None:
    racing = [
        (service, other)[i % 2].models.insert(model(f"m{i}"), request_id=UUID, request_sha256="same")
        for i in range(30)
    ]
    assert len({found.name for found in await asyncio.gather(*racing)}) == 1
    assert len((await service.models.list("projects/p"))[0]) == 1
    with pytest.raises(Invalid) as caught:
        await service.models.insert(model("x"), request_id=UUID, request_sha256="another")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    await service.models.insert(model("m", "elsewhere"), request_id=UUID, request_sha256="another")


async def test_racing_updates_lose_none(service: Service, other: Service) -> None:
    await service.models.insert(model())

    def one_more(found: pb.Model) -> None:
        found.size_bytes += 1

    racing = [(service, other)[i % 2].models.update("projects/p/models/m", one_more) for i in range(40)]
    await asyncio.gather(*racing)
    assert (await service.models.get("projects/p/models/m")).size_bytes == 40


async def test_an_update_that_fails_changes_nothing(service: Service) -> None:
    await service.models.insert(model(display_name="before"))

    def fails(found: pb.Model) -> None:
        found.display_name = "after"
        raise Invalid("NO", "no")

    with pytest.raises(Invalid):
        await service.models.update("projects/p/models/m", fails)
    assert (await service.models.get("projects/p/models/m")).display_name == "before"


async def test_processes_that_start_at_once_make_the_tables_once(database_url: str, schema: str) -> None:
    for round in range(4):
        databases = [Database(database_url, f"{schema}_{round}") for _ in range(8)]
        await asyncio.gather(*(database.run(lambda connection: None) for database in databases))
        await asyncio.gather(*(database.create_all() for database in databases))
        for database in databases:
            await database.close()
