"""Who is computed with whom: parts of long texts, turns between requests, priorities, room, failures."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.engine import lanes
from services.inference.engine.plain import shares_rows
from services.inference.engine.replica import Engine
from services.inference.engine.scheduler import Scheduler
from services.inference.settings import InferenceSettings
from services.inference.wire import ContextRef, GenerateCall, Raw, Refused, ScoreCall, TokenPrompt

BUNDLED = Path(__file__).parents[3] / "models" / "small"
LONG = "the bralo is bigger than the cemid.\n" * 24
ITEMS = [
    (
        "the cemid is",
        ["smaller than the bralo.", "bigger than the bralo, the cemid and the old bridge.", "old."],
    ),
    ("a dovun was", ["seen near the bridge."]),
]


class Passes:
    """What each forward pass was made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[list[Any]] = []
        forward = lanes.forward

        def watched(model: Any, shelves: Any, entries: list[Any]) -> Any:
            self.made.append(entries)
            return forward(model, shelves, entries)

        monkeypatch.setattr(lanes, "forward", watched)

    @property
    def sizes(self) -> list[int]:
        return [sum(len(entry.feed.tokens) for entry in entries) for entries in self.made]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    return Passes(monkeypatch)


def engine_with(stored: Callable[[str], Any], **settings: Any) -> Engine:
    return Engine(stored("llama").settings.model_copy(update=settings))


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("tokens", [16, 64])
async def test_what_is_read_in_parts_scores_the_same(
    stored: Callable[[str], Any], passes: Passes, name: str, tokens: int
) -> None:
    """Contexts, long questions, and choices that do not fit into a pass together."""
    tiny = stored(name)
    items = [*ITEMS, (LONG[:200], ["the bralo " * 12, "the cemid " * 9, "a dovun " * 11])]
    calls = [ScoreCall(tiny.ref, None, items), ScoreCall(tiny.ref, ContextRef("parts", LONG), items)]
    whole: list[Any] = [await Engine(tiny.settings).score(call) for call in calls]
    passes.made.clear()
    parts: list[Any] = [await engine_with(stored, pass_tokens=tokens).score(call) for call in calls]
    assert max(passes.sizes) <= max(tokens, 40)  # a leaf that is longer goes by itself
    for one, other in zip(whole, parts, strict=True):
        for expected, found in zip(one.items, other.items, strict=True):
            assert [count for _, count in found] == [count for _, count in expected]
            assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], abs=2e-4)
        assert other.spent.prompt_tokens == one.spent.prompt_tokens


async def test_a_long_text_by_itself_is_scored_part_by_part(
    stored: Callable[[str], Any], passes: Passes
) -> None:
    tiny = stored("llama")
    answer: Any = await engine_with(stored, pass_tokens=32).score(ScoreCall(tiny.ref, None, [("", [LONG])]))
    tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
    ids = [tokenizer.eos_token_id, *tokenizer(LONG, add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        logits = (
            AutoModelForCausalLM.from_pretrained(tiny.folder)(torch.tensor([ids])).logits[0].log_softmax(-1)
        )
    expected = sum(float(logits[i, token]) for i, token in enumerate(ids[1:]))
    assert answer.items[0][0] == (pytest.approx(expected, abs=2e-3), len(ids) - 1)
    assert max(passes.sizes) <= 32


async def test_bfloat16_is_as_exact_as_plain_passes_in_it_and_chooses_the_same(
    tiny: Any, tmp_path: Path
) -> None:
    """Of the bundled model. Its plain bfloat16 passes are off by up to a quarter of a nat from float32 themselves."""
    uri, sha256 = tiny.publish(BUNDLED, tmp_path / "storage", "models/small/a")
    settings = InferenceSettings(
        storage=f"file://{tmp_path}/storage", scratch=tmp_path / "scratch", dtype="bfloat16"
    )
    documents = "\n".join(["The bralo is bigger than the cemid.", "The dovun is faster than the hupik."] * 12)
    names = ["bralo", "cemid", "dovun", "hupik"]
    items = [
        (f"Question: Which is {how} than the {name}?\nAnswer:", [f"the {other}" for other in names])
        for how in ("bigger", "smaller", "faster", "slower")
        for name in names
    ]
    ref = replace(tiny.describe("small", uri, sha256), context_window=2048)
    answer: Any = await Engine(settings).score(ScoreCall(ref, ContextRef("half", documents), items))
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    models = [AutoModelForCausalLM.from_pretrained(BUNDLED, dtype=dtype) for dtype in ("bfloat16", "float32")]
    assert shares_rows(models[0])
    models[0].set_attn_implementation("sdpa")
    off, plainly_off = [], []
    for (prompt, choices), scores in zip(items, answer.items, strict=True):
        before = f"{documents}\n\n{prompt}"
        half, right = (
            [plain(model, tokenizer, before, f" {choice}") for choice in choices] for model in models
        )
        found = [total for total, _ in scores]
        off += [abs(one - other) for one, other in zip(found, right, strict=True)]
        plainly_off += [abs(one - other) for one, other in zip(half, right, strict=True)]
        order = sorted(right, reverse=True)
        if order[0] - order[1] > 0.5:
            assert found.index(max(found)) == half.index(max(half)) == right.index(max(right))
    assert sum(off) < 1.3 * sum(plainly_off)
    assert max(off) < 1.5 * max(plainly_off)


def plain(model: Any, tokenizer: Any, before: str, after: str) -> float:
    begin, ids = len(tokenizer(before)["input_ids"]), tokenizer(before + after)["input_ids"]
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)
    return sum(float(logprobs[place - 1, ids[place]]) for place in range(begin, len(ids)))


async def test_who_writes_goes_on_while_others_read(stored: Callable[[str], Any], passes: Passes) -> None:
    tiny = stored("llama")
    engine = engine_with(stored, pass_tokens=1024)
    writing = asyncio.create_task(engine.generate(GenerateCall(tiny.ref, None, ["the"], max_tokens=10)))
    while len(passes.made) < 3:
        await asyncio.sleep(0.001)
    items = [(f"{number} the old bridge", ["tools", "the"]) for number in range(200)]
    await asyncio.gather(writing, engine.score(ScoreCall(tiny.ref, None, items)))
    both = [
        size for entries, size in zip(passes.made, passes.sizes, strict=True) if any(map(writes, entries))
    ]
    assert max(both) <= lanes.READ_BESIDE + 1
    assert max(passes.sizes) > lanes.READ_BESIDE + 1  # when nobody waits for a token


def writes(entry: Any) -> bool:
    return bool(entry.tail.length and len(entry.feed.tokens) == 1 and entry.feed.kept)


async def test_bulk_gets_what_interactive_requests_leave(
    stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = stored("llama")
    engine = engine_with(stored, pass_tokens=64)
    items = [(f"{number} the old bridge", ["tools", "the"]) for number in range(150)]
    ended: list[str] = []
    # Bulk has begun when the others come, and all are there before it goes on.
    submitted, begun, all_there = [], threading.Event(), threading.Event()
    submit, forward = Scheduler.submit, lanes.forward

    def counted(scheduler: Scheduler, work: Any) -> None:
        submit(scheduler, work)
        submitted.append(work)
        if len(submitted) == 3:
            all_there.set()

    def held(*arguments: Any) -> Any:
        begun.set()
        assert all_there.wait(30)
        return forward(*arguments)

    monkeypatch.setattr(Scheduler, "submit", counted)
    monkeypatch.setattr(lanes, "forward", held)

    async def ask(name: str, call: Any) -> None:
        answer = await (engine.score(call) if isinstance(call, ScoreCall) else engine.generate(call))
        assert not isinstance(answer, Refused)
        ended.append(name)

    bulk = asyncio.create_task(ask("bulk", ScoreCall(tiny.ref, None, items, bulk=True)))
    assert await asyncio.to_thread(begun.wait, 30)
    await asyncio.gather(
        ask("interactive", ScoreCall(tiny.ref, None, items)),
        ask("one question", ScoreCall(tiny.ref, None, items[:1])),
        bulk,
    )
    assert ended == ["one question", "interactive", "bulk"]


async def test_no_more_sequences_are_at_work_than_there_is_room_for(
    stored: Callable[[str], Any], passes: Passes
) -> None:
    tiny = stored("llama")
    prompts = [f"{number} the" for number in range(30)]
    few = engine_with(stored, running_count=4)
    answer: Any = await few.generate(GenerateCall(tiny.ref, None, prompts, max_tokens=6))
    assert max(len(entries) for entries in passes.made) <= 4
    passes.made.clear()
    little = engine_with(stored, running_bytes=1)
    again: Any = await little.generate(GenerateCall(tiny.ref, None, prompts, max_tokens=6))
    assert max(len(entries) for entries in passes.made) == 1
    assert again.texts == answer.texts


async def test_a_pass_that_fails_ends_its_requests_and_the_engine_lives(
    stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, engine = stored("llama"), engine_with(stored)
    call = GenerateCall(tiny.ref, None, ["the"], max_tokens=3)
    forward = lanes.forward
    monkeypatch.setattr(lanes, "forward", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(MemoryError, match="no room"):
        await engine.generate(call)
    monkeypatch.setattr(lanes, "forward", forward)
    assert not isinstance(await engine.generate(call), Refused)
    held = (await engine.facts()).held
    assert held is not None
    assert (held.running_count, held.waiting_count) == (0, 0)


@pytest.mark.parametrize("name", ["llama", "chat"])
async def test_tokens_and_raw_text_are_read_as_they_are(stored: Callable[[str], Any], name: str) -> None:
    tiny, engine = stored(name), Engine(stored(name).settings)
    ids = AutoTokenizer.from_pretrained(tiny.folder)("the cemid is")["input_ids"]
    answer: Any = await engine.generate(
        GenerateCall(tiny.ref, None, [Raw("the cemid is"), TokenPrompt(tuple(ids))], max_tokens=8)
    )
    assert answer.texts[0] == answer.texts[1]
    assert [one.prompt_count for one in answer.continuations] == [len(ids)] * 2


@pytest.mark.parametrize(
    ("prompt", "context", "reason"),
    [
        (TokenPrompt((1, 400)), None, "UNKNOWN_TOKEN"),
        (TokenPrompt((-1,)), None, "UNKNOWN_TOKEN"),
        (TokenPrompt((1, 2)), ContextRef("c", LONG), "TOKENS_WITH_CONTEXT"),
        (TokenPrompt((1,) * 513), None, "PROMPT_TOO_LONG"),
    ],
)
async def test_tokens_that_cannot_be_read_are_refused(
    engine: Engine, stored: Callable[[str], Any], prompt: Any, context: Any, reason: str
) -> None:
    answer = await engine.generate(GenerateCall(stored("llama").ref, context, [prompt]))
    assert isinstance(answer, Refused)
    assert answer.reason == reason
