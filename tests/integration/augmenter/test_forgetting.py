"""Outputs out of the store: those that had a text in sight and no others, whatever breaks off in between."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from servicekit.database import Database
from servicekit.storage import open_storage
from services.augmenter import forgetting, outputs
from services.augmenter.forgetting import Forgetting
from services.augmenter.outputs import Outputs
from services.augmenter.settings import AugmenterSettings
from services.augmenter.sights import Sight, text_digest

PROJECT = "projects/demo"
GROUP = Sight.of(["A.", "B."])


class Store:
    def __init__(self, settings: AugmenterSettings, database: Database) -> None:
        self.root = Path(settings.storage.removeprefix("file://"))
        self.database, self.storage = database, open_storage(settings)
        self.outputs = Outputs(database, open_storage(settings), PROJECT)
        self.other = Outputs(database, open_storage(settings), "projects/other")
        self.forgetting = Forgetting(database, self.storage, PROJECT)

    def texts(self, project: str = PROJECT) -> str:
        return " ".join(path.read_text() for path in (self.root / project / "outputs").glob("*.json"))

    async def there(self) -> set[str]:
        found = await self.outputs.find(["of-a", "of-b", "of-both", "of-c", "unknown"])
        assert all(output.text == f"written {digest}" for digest, output in found.items())
        return set(found)


@pytest.fixture
async def store(settings: AugmenterSettings) -> AsyncIterator[Store]:
    database = Database(settings.database_url, schema="augmenter")
    await database.create_all()
    store = Store(settings, database)
    seen = {"of-a": Sight.of(["A."]), "of-b": Sight.of(["B."]), "of-both": GROUP}
    await store.outputs.keep("d", written(*seen), seen)
    await store.outputs.keep("d", written("of-c", "unknown"), {"of-c": Sight.of(["C."])})
    await store.other.keep("d", written("of-a"), {"of-a": Sight.of(["A."])})
    yield store
    await database.close()


def written(*digests: str) -> dict[str, tuple[str, list[float]]]:
    return {digest: (f"written {digest}", [1.0]) for digest in digests}


async def test_what_had_the_text_in_sight_goes_and_what_nobody_knows(store: Store) -> None:
    assert await store.forgetting.count([text_digest("A.")]) == 3
    assert await store.forgetting.forget([text_digest("A.")]) == 3
    assert await store.there() == {"of-b", "of-c"}
    for digest in ("of-a", "of-both", "unknown"):
        assert f"written {digest}" not in store.texts()
    assert "written of-a" in store.texts("projects/other")
    assert len(list((store.root / PROJECT / "outputs").glob("*.json"))) == 2
    assert await store.forgetting.forget([text_digest("A.")]) == 0


async def test_what_nobody_knows_may_stay(store: Store) -> None:
    assert await store.forgetting.forget([text_digest("A.")], unknown_too=False) == 2
    assert await store.there() == {"of-b", "of-c", "unknown"}


@pytest.mark.parametrize(
    "boundary",
    ["augmenter.after_outputs_object", "augmenter.after_outputs_rows", "augmenter.after_forgetting"],
)
async def test_broken_off_it_is_done_the_next_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    def fails(name: str) -> None:
        if name == boundary:
            raise ConnectionError(name)

    monkeypatch.setattr(forgetting, "failpoint", fails)
    with pytest.raises(ConnectionError):
        await store.forgetting.forget([text_digest("A.")])
    monkeypatch.setattr(forgetting, "failpoint", lambda name: None)
    assert {"of-b", "of-c"} <= await store.there()
    await store.forgetting.forget([text_digest("A.")])
    assert await store.there() == {"of-b", "of-c"}
    assert "written of-a" not in store.texts()
    assert "written of-both" not in store.texts()


async def test_an_object_that_somebody_took_away_does_not_stop_it(store: Store) -> None:
    for path in (store.root / PROJECT / "outputs").glob("*.json"):
        path.unlink()
    assert await store.forgetting.forget([text_digest("A.")]) == 3
    assert await store.there() == set()


async def test_a_kept_output_may_be_written_anew(store: Store) -> None:
    """What is asked again after it was forgotten is known with what it has in sight."""
    await store.forgetting.forget([text_digest("A.")])
    seen: dict[str, Any] = {"of-a": Sight.of(["A."])}
    await store.outputs.keep("e", written("of-a"), seen)
    assert "of-a" in await store.there()
    assert await store.forgetting.count([text_digest("A.")]) == 1


async def steps_to_forget(store: Store, count: int) -> int:
    """What the database does for so many outputs, two to an object of which one stays, in hundreds of its virtual machine's steps."""
    names = [f"{count}-{number}" for number in range(2 * count)]
    for pair in zip(names[::2], names[1::2], strict=True):
        await store.outputs.keep("d", written(*pair), {name: Sight.of([name]) for name in pair})
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection: Any = store.database.engine.raw_connection().driver_connection
    connection.set_progress_handler(step, 100)
    texts = [text_digest(name) for name in names[::2]]
    assert await store.forgetting.forget(texts, unknown_too=False) == count
    connection.set_progress_handler(None, 0)
    assert set(await store.outputs.find(names)) == set(names[1::2])
    return steps


async def test_five_times_as_many_outputs_take_five_times_the_work(store: Store) -> None:
    few = await steps_to_forget(store, 20)
    assert await steps_to_forget(store, 100) < 8 * few


async def test_what_another_forgetting_moved_meanwhile_goes_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes the object anew between this one's look and its reading."""
    other = Forgetting(store.database, store.storage, PROJECT)
    get = store.storage.get

    async def after_the_other(key: str) -> bytes:
        monkeypatch.setattr(store.storage, "get", get)
        await other.forget([text_digest("B.")], unknown_too=False)
        return await get(key)

    monkeypatch.setattr(store.storage, "get", after_the_other)
    await store.forgetting.forget([text_digest("A.")], unknown_too=False)
    assert await store.there() == {"of-c", "unknown"}
    assert "written of-a" not in store.texts()


async def kept_again(store: Store) -> None:
    """Two processes asked for the same; what the first was told lies in its object, where nothing leads to it any more."""
    seen = {"of-a": Sight.of(["A."]), "of-b": Sight.of(["B."])}
    earlier = {**written("of-b"), "of-a": ("told earlier", [1.0])}
    await store.outputs.keep("d", earlier, seen)
    await store.outputs.keep("d", written("of-a"), seen)


async def test_of_what_was_kept_twice_the_earlier_goes_too(store: Store) -> None:
    await kept_again(store)
    assert "told earlier" in store.texts()
    assert await store.forgetting.forget([text_digest("A.")], unknown_too=False) == 2
    assert await store.there() == {"of-b", "of-c", "unknown"}
    for text in ("told earlier", "written of-a", "written of-both"):
        assert text not in store.texts()
    assert store.texts().count("written") == 3


@pytest.mark.parametrize("boundary", ["augmenter.after_outputs_object", "augmenter.after_outputs_rows"])
async def test_of_what_was_kept_twice_the_earlier_goes_the_next_time_where_it_broke_off(
    store: Store, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    def fails(name: str) -> None:
        if name == boundary:
            raise ConnectionError(name)

    await kept_again(store)
    monkeypatch.setattr(forgetting, "failpoint", fails)
    with pytest.raises(ConnectionError):
        await store.forgetting.forget([text_digest("nobody's")], unknown_too=False)
    monkeypatch.setattr(forgetting, "failpoint", lambda name: None)
    await store.forgetting.forget([text_digest("nobody's")], unknown_too=False)
    assert await store.there() == {"of-a", "of-b", "of-both", "of-c", "unknown"}
    assert "told earlier" not in store.texts()
    assert store.texts().count("written") == 5


async def test_what_was_stored_and_has_no_rows_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(name: str) -> None:
        raise ConnectionError(name)

    monkeypatch.setattr(outputs, "failpoint", killed)
    with pytest.raises(ConnectionError):
        await store.outputs.keep("d", {"more-of-a": ("never named", [1.0])}, {"more-of-a": Sight.of(["A."])})
    assert "never named" in store.texts()
    await store.forgetting.forget([text_digest("A.")])
    assert "never named" not in store.texts()
    assert await store.there() == {"of-b", "of-c"}


async def test_objects_are_read_only_where_something_in_them_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get = store.storage.get

    async def counted(key: str) -> bytes:
        read.append(key)
        return await get(key)

    monkeypatch.setattr(store.storage, "get", counted)
    await store.forgetting.forget([text_digest("nobody's")], unknown_too=False)
    assert read == []
    await kept_again(store)
    await store.forgetting.forget([text_digest("nobody's")], unknown_too=False)
    assert len(read) == 2  # the first that had `of-a` and `of-b`, and the one that had the earlier
    await store.forgetting.forget([text_digest("nobody's")], unknown_too=False)
    assert len(read) == 2


async def test_objects_of_an_earlier_release_are_looked_through_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names do not tell how many outputs they hold."""
    monkeypatch.setattr(
        outputs, "new_key", lambda project, count: f"{project}/outputs/{secrets.token_hex(12)}.json"
    )
    await kept_again(store)
    monkeypatch.undo()
    monkeypatch.setattr(forgetting, "OBJECTS_AT_ONCE", 1)
    await store.forgetting.forget([text_digest("A.")], unknown_too=False)
    assert "told earlier" not in store.texts()
    names = {path.name for path in (store.root / PROJECT / "outputs").glob("*.json")}
    assert all("-" in name for name in names)
    await store.forgetting.forget([text_digest("A.")], unknown_too=False)
    assert names == {path.name for path in (store.root / PROJECT / "outputs").glob("*.json")}
    assert await store.there() == {"of-b", "of-c", "unknown"}
