"""One thread, its queue, its memory: what is refused, what is stopped, what leaves."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servicekit import errors
from services.inference.engine import lanes, models
from services.inference.engine.models import ModelStore
from services.inference.engine.replica import Engine
from services.inference.wire import (
    ContextRef,
    CountCall,
    ForgetCall,
    GenerateCall,
    PrefillCall,
    Refused,
    ScoreCall,
    raise_refused,
    refused,
)


async def test_tokens_are_counted_without_special_ones(engine: Engine, stored: Callable[[str], Any]) -> None:
    tiny = stored("llama")
    assert await engine.count(CountCall(tiny.ref, ["", "the", "the bralo"])) == [0, 1, 2]


async def test_what_is_too_long_is_refused_with_the_counts(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    ref = stored("llama").ref
    long = "the old bridge " * 400
    (count,) = await engine.count(CountCall(ref, [long]))  # type: ignore[misc]
    answers = {
        "items[0].choices[0]": await engine.score(ScoreCall(ref, None, [(long, ["a", "b"])])),
        "prompts[1]": await engine.generate(GenerateCall(ref, None, ["the", long])),
        "context": await engine.prefill(PrefillCall(ref, ContextRef("long", long))),
    }
    for field, answer in answers.items():
        assert isinstance(answer, Refused)
        assert answer.field == field
        assert answer.metadata["context_window"] == "512"
        assert int(answer.metadata["token_count"]) >= count - 1
        assert answer.metadata["token_count"] in answer.message
    pieces = [piece async for piece in engine.stream(GenerateCall(ref, None, [long]))]
    assert [piece.reason for piece in pieces] == ["PROMPT_TOO_LONG"]  # type: ignore[union-attr]


class Slow:
    """Makes each pass wait until it is let go, and counts the passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.steps = threading.Event(), 0
        forward = lanes.forward

        def slowly(*arguments: Any) -> Any:
            self.steps += 1
            self.go.wait(10)
            return forward(*arguments)

        monkeypatch.setattr(lanes, "forward", slowly)

    async def until_steps(self, count: int) -> None:
        while self.steps < count:
            await asyncio.sleep(0.005)


async def written_by_others(engine: Engine, ref: Any) -> None:
    """Two tokens of a call that comes after whatever was before it."""
    assert not isinstance(await engine.generate(GenerateCall(ref, None, ["which"], max_tokens=2)), Refused)


async def test_a_full_queue_refuses_and_says_when_to_come_back(
    stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, slow = stored("llama"), Slow(monkeypatch)
    engine = Engine(tiny.settings.model_copy(update={"max_queued": 2}))
    call = GenerateCall(tiny.ref, None, ["the"], max_tokens=2)
    waiting = [asyncio.create_task(engine.generate(call)) for _ in range(2)]
    await slow.until_steps(1)
    answer = await engine.generate(call)
    assert isinstance(answer, Refused)
    with pytest.raises(errors.Exhausted) as caught:
        raise_refused(answer)
    assert caught.value.reason == "ENGINE_BUSY"
    assert caught.value.retry_after_s > 0
    assert [piece.reason async for piece in engine.stream(call)] == ["ENGINE_BUSY"]  # type: ignore[union-attr]
    slow.go.set()
    assert not any(isinstance(one, Refused) for one in await asyncio.gather(*waiting))
    assert not isinstance(await engine.generate(call), Refused)


async def test_a_cancelled_call_stops_the_work_and_one_that_waits_never_begins(
    stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, slow = stored("llama"), Slow(monkeypatch)
    engine = Engine(tiny.settings)
    call = GenerateCall(tiny.ref, None, ["the"], max_tokens=100)
    running = asyncio.create_task(engine.generate(call))
    await slow.until_steps(1)
    queued = asyncio.create_task(engine.generate(call))
    await asyncio.sleep(0.05)
    for task in (running, queued):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    slow.go.set()
    await written_by_others(engine, tiny.ref)
    # The first pass of the one that ran, and what the others took: two for each.
    assert slow.steps == 1 + 2


async def test_a_stream_that_nobody_reads_stops(
    stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, slow = stored("llama"), Slow(monkeypatch)
    slow.go.set()
    engine = Engine(tiny.settings.model_copy(update={"max_queued": 1}))
    pieces = engine.stream(GenerateCall(tiny.ref, None, ["the"], max_tokens=400))
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]
    steps = slow.steps
    await written_by_others(engine, tiny.ref)
    assert slow.steps <= steps + 1 + 2


async def test_a_forgotten_context_is_read_again(engine: Engine, stored: Callable[[str], Any]) -> None:
    call = ScoreCall(stored("llama").ref, ContextRef("digest", "the old bridge"), [("which", ["tools"])])
    first, warm = await engine.score(call), await engine.score(call)
    await engine.forget(ForgetCall(ContextRef("digest", "")))
    again = await engine.score(call)
    counts = [one.spent.prompt_tokens for one in (first, warm, again)]  # type: ignore[union-attr]
    assert counts[0] == counts[2] > counts[1]


def test_models_leave_when_the_bytes_are_needed(
    stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    load = models.load_weights
    monkeypatch.setattr(
        models, "load_weights", lambda folder, *rest: loads.append(folder.name) or load(folder, *rest)
    )
    names = ["llama", "qwen3", "llama", "mistral", "llama", "qwen3"]
    tinies = {name: stored(name) for name in names}
    folders = {tiny.ref.sha256: tiny.folder for tiny in tinies.values()}
    size = load(tinies["llama"].folder, None, tinies["llama"].settings).size_bytes
    settings = tinies["llama"].settings.model_copy(update={"model_bytes": int(2.2 * size)})
    store = ModelStore(settings, lambda ref: folders[ref.sha256])
    for name in names:
        assert store.get(tinies[name].ref).ref.name == f"projects/p/models/{name}"
    # The llama was used in between, so qwen3 left for mistral.
    assert loads == ["llama", "qwen3", "mistral", "qwen3"]


async def test_a_flipped_byte_is_found(stored: Callable[[str], Any], tmp_path: Path) -> None:
    tiny = stored("phi")
    key = Path(tiny.ref.uri.removeprefix("file://")) / "config.json"
    original = key.read_bytes()
    key.write_bytes(original.replace(b"64", b"65", 1))
    try:
        settings = tiny.settings.model_copy(update={"scratch": tmp_path})
        answer = await Engine(settings).count(CountCall(tiny.ref, ["a"]))
    finally:
        key.write_bytes(original)
    assert isinstance(answer, Refused)
    assert answer.reason == "MODEL_CORRUPT"
    assert not any(tmp_path.glob("models/*"))


async def test_a_model_whose_files_are_gone_is_no_other_model(
    stored: Callable[[str], Any], tiny: Any, tmp_path: Path
) -> None:
    gone = tiny.describe("gone", stored("llama").ref.uri + "-gone", "0" * 64, base=stored("llama").ref)
    answer = await Engine(stored("llama").settings).count(CountCall(gone, ["a"]))
    assert isinstance(answer, Refused)
    assert (answer.kind, answer.reason) == ("NotFound", "MODEL_FILES_MISSING")


@pytest.mark.parametrize(
    "error",
    [
        errors.Invalid("TOO_LONG", "17 of 16", field="prompts[0]", tokens=17),
        errors.NotFound("MISSING", "no such", resource="projects/p/models/m"),
        errors.Exhausted("BUSY", "later", 1.5, queued=3),
    ],
)
def test_errors_survive_the_way_from_the_engine_to_the_door(error: errors.DomainError) -> None:
    with pytest.raises(type(error)) as caught:
        raise_refused(refused(error))
    assert vars(caught.value) == vars(error)
