"""Contexts in memory and on disk: what leaves, what comes back, what stays, what is never mixed up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine import lanes
from services.inference.engine.prefix import key_of
from services.inference.engine.replica import Engine
from services.inference.wire import ContextRef, ForgetCall, PrefillCall, Refused, ScoreCall

ITEMS = [("the cemid is", ["smaller than the bralo.", "old."])]
TEXTS = {
    name: f"{name} the bralo is bigger than the cemid.\na dovun was seen near the old bridge, twice."
    for name in "abc"
}


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """New tokens of each pass."""
    found: list[int] = []
    forward = lanes.forward

    def counted(model: Any, shelves: Any, entries: list[Any]) -> Any:
        found.append(sum(len(entry.feed.tokens) for entry in entries))
        return forward(model, shelves, entries)

    monkeypatch.setattr(lanes, "forward", counted)
    return found


def make(stored: Callable[[str], Any], scratch: Path, **settings: Any) -> tuple[Any, Engine]:
    """An engine whose memory has room for one of the texts."""
    tiny = stored("llama")
    update = {"cache_bytes": 40_000, "scratch": scratch, **settings}
    return tiny.ref, Engine(tiny.settings.model_copy(update=update))


async def scored(engine: Engine, ref: Any, name: str, *, pinned: bool = False) -> Any:
    answer = await engine.score(ScoreCall(ref, ContextRef(name, TEXTS[name], pinned), ITEMS))
    assert not isinstance(answer, Refused), answer
    return answer


async def test_what_left_memory_is_loaded_instead_of_read_again(
    stored: Callable[[str], Any], tmp_path: Path, fed: list[int]
) -> None:
    ref, engine = make(stored, tmp_path)
    first = await scored(engine, ref, "a")
    await scored(engine, ref, "b")
    held = (await engine.facts()).held
    assert held is not None
    assert (held.held_context_count, held.spilled_context_count) == (1, 1)
    assert held.held_context_bytes <= held.cache_bytes_limit
    fed.clear()
    again = await scored(engine, ref, "a")
    assert again.items == first.items
    assert again.spent.prompt_tokens - again.spent.cached_tokens == sum(fed) < first.spent.prompt_tokens / 2
    # A new process finds what an earlier one left.
    fed.clear()
    other = await scored(make(stored, tmp_path)[1], ref, "a")
    assert other.items == first.items
    assert sum(fed) == again.spent.prompt_tokens - again.spent.cached_tokens


async def test_whatever_was_not_used_for_longest_leaves_first(
    stored: Callable[[str], Any], tmp_path: Path, fed: list[int]
) -> None:
    ref, engine = make(stored, tmp_path, cache_bytes=50_000, spill_bytes=0)  # room for two
    first = await scored(engine, ref, "a")
    for name in "bac":
        await scored(engine, ref, name)
    for name, new in (("a", False), ("c", False), ("b", True)):
        fed.clear()
        await scored(engine, ref, name)
        assert (sum(fed) > first.spent.prompt_tokens / 2) is new, name


async def test_a_file_that_is_broken_is_a_miss(stored: Callable[[str], Any], tmp_path: Path) -> None:
    ref, engine = make(stored, tmp_path)
    first = await scored(engine, ref, "a")
    await scored(engine, ref, "b")
    (file,) = tmp_path.glob("contexts/*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    again = await scored(engine, ref, "a")
    assert again.items == first.items
    assert again.spent.prompt_tokens == first.spent.prompt_tokens


async def test_the_disk_has_a_budget_too(stored: Callable[[str], Any], tmp_path: Path) -> None:
    ref, engine = make(stored, tmp_path, spill_bytes=60_000)
    for name in "abcabc":
        await scored(engine, ref, name)
    held = (await engine.facts()).held
    assert held is not None
    assert held.spilled_context_bytes <= 60_000
    assert held.spilled_context_count == len(list(tmp_path.glob("contexts/*.safetensors"))) >= 1


async def test_a_pinned_context_stays_and_a_second_finds_no_room(
    stored: Callable[[str], Any], tmp_path: Path, fed: list[int]
) -> None:
    ref, engine = make(stored, tmp_path, spill_bytes=0)
    read: Any = await engine.prefill(PrefillCall(ref, ContextRef("a", TEXTS["a"], pinned=True)))
    for name in "bc":
        await scored(engine, ref, name)
    fed.clear()
    warm = await scored(engine, ref, "a")
    assert sum(fed) == warm.spent.prompt_tokens - warm.spent.cached_tokens < read.token_count
    refused = await engine.prefill(PrefillCall(ref, ContextRef("b", TEXTS["b"], pinned=True)))
    assert isinstance(refused, Refused)
    assert (refused.kind, refused.reason) == ("Exhausted", "NO_ROOM_TO_PIN")
    assert int(refused.metadata["pinned_bytes"]) == read.cache_bytes
    await engine.forget(ForgetCall(ContextRef("a", "")))
    assert not isinstance(await engine.prefill(PrefillCall(ref, ContextRef("b", TEXTS["b"], True))), Refused)


async def test_beside_pinned_ones_no_more_is_kept_than_has_room(
    stored: Callable[[str], Any], tmp_path: Path, fed: list[int]
) -> None:
    """Whoever asks about another is answered all the same, and what does not stay in memory is on disk."""
    ref, engine = make(stored, tmp_path)
    await engine.prefill(PrefillCall(ref, ContextRef("a", TEXTS["a"], pinned=True)))
    first = await scored(engine, ref, "b")
    held = (await engine.facts()).held
    assert held is not None
    assert (held.held_context_count, held.spilled_context_count) == (1, 1)
    assert held.held_context_bytes == held.pinned_context_bytes <= held.cache_bytes_limit
    fed.clear()
    again = await scored(engine, ref, "b")
    assert again.items == first.items
    assert sum(fed) < first.spent.prompt_tokens / 2


async def test_questions_about_a_pinned_context_are_answered_where_it_cannot_be_pinned(
    stored: Callable[[str], Any], tmp_path: Path
) -> None:
    """Such that another replica has pinned, or that this one had before it was started anew."""
    ref, engine = make(stored, tmp_path, spill_bytes=0)
    await engine.prefill(PrefillCall(ref, ContextRef("a", TEXTS["a"], pinned=True)))
    first = await scored(engine, ref, "b", pinned=True)
    assert (await scored(engine, ref, "b", pinned=True)).items == first.items
    await engine.forget(ForgetCall(ContextRef("a", "")))
    await scored(engine, ref, "b", pinned=True)
    held = (await engine.facts()).held
    assert held is not None
    assert held.pinned_context_bytes == held.held_context_bytes > 0


async def test_a_context_that_no_replica_could_keep_is_refused_before_it_is_read(
    stored: Callable[[str], Any], tmp_path: Path, fed: list[int]
) -> None:
    ref, engine = make(stored, tmp_path, cache_bytes=1000)
    refused = await engine.prefill(PrefillCall(ref, ContextRef("a", TEXTS["a"])))
    assert isinstance(refused, Refused)
    assert refused.reason == "CACHE_TOO_SMALL"
    assert int(refused.metadata["needed_bytes"]) > 1000
    assert not fed


def test_keys_tell_models_formats_and_tokens_apart() -> None:
    keys = {
        key_of(model, dtype, ids)
        for model in ("m", "n")
        for dtype in ("float32", "bfloat16")
        for ids in ([1, 2], [1, 2, 3], [12])
    }
    assert len(keys) == 12
