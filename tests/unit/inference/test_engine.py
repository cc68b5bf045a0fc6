"""The engine against plain transformers: the same numbers, whatever is shared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.engine import Engine, held_back
from services.inference.forest import agrees_with_plain
from services.inference.settings import InferenceSettings
from services.inference.wire import (
    ContextRef,
    CountCall,
    GenerateCall,
    ModelRef,
    PrefillCall,
    Refused,
    ScoreCall,
)

Stored = Callable[[str], tuple[ModelRef, Path, InferenceSettings]]
SHARING = ["llama", "qwen3", "mistral", "gemma", "phi", "gpt2"]
DOCUMENTS = "the bralo is bigger than the cemid.\na dovun was seen near the old bridge, twice."
ITEMS = [
    ("the cemid is", ["smaller than the bralo.", "bigger than the bralo.", "old."]),
    ("a dovun was", ["seen near the bridge.", "seen near the bralo."]),
    ("which", ["tools are there?", "bridge?"]),
]


def plain_score(model: Any, tokenizer: Any, prompt: str, choice: str) -> tuple[float, int]:
    """One forward pass of the whole; tokens after the prompt's characters are the choice's."""
    encoded = tokenizer(f"{prompt} {choice}", return_offsets_mapping=True)
    ids = torch.tensor([encoded["input_ids"]])
    with torch.inference_mode():
        logprobs_TV = model(input_ids=ids).logits[0].log_softmax(-1)
    places = [i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end > len(prompt)]
    return sum(float(logprobs_TV[i - 1, ids[0, i]]) for i in places), len(places)


@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["alone", "in context"])
@pytest.mark.parametrize("name", [*SHARING, "gemma3"])
async def test_scores_are_those_of_plain_forward_passes(
    stored: Stored, name: str, documents: str | None
) -> None:
    ref, folder, settings = stored(name)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    context = ContextRef("digest", documents) if documents else None
    answer = await Engine(settings).score(ScoreCall(ref, context, ITEMS))
    assert not isinstance(answer, Refused), answer
    for (prompt, choices), scores in zip(ITEMS, answer.items, strict=True):
        before = f"{documents}\n\n{prompt}" if documents else prompt
        for choice, (total, count) in zip(choices, scores, strict=True):
            expected, tokens = plain_score(model, tokenizer, before, choice)
            assert count == tokens
            assert total == pytest.approx(expected, abs=1e-3 if name == "gemma3" else 2e-4)


@pytest.mark.parametrize(("name", "shares"), [*((name, True) for name in SHARING), ("gemma3", False)])
def test_an_architecture_says_itself_whether_rows_can_be_shared(
    stored: Stored, name: str, shares: bool
) -> None:
    assert agrees_with_plain(AutoModelForCausalLM.from_pretrained(stored(name)[1]).eval()) is shares


@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["alone", "in context"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
async def test_greedy_texts_are_those_of_generate(stored: Stored, name: str, documents: str | None) -> None:
    ref, folder, settings = stored(name)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompts = [prompt for prompt, _ in ITEMS]
    context = ContextRef("digest", documents) if documents else None
    answer = await Engine(settings).generate(GenerateCall(ref, context, prompts, max_tokens=12))
    assert not isinstance(answer, Refused), answer
    for prompt, text in zip(prompts, answer.texts, strict=True):
        before = f"{documents}\n\n{prompt}" if documents else prompt
        ids = tokenizer(before, return_tensors="pt")["input_ids"]
        ends = [
            end for end in {tokenizer.eos_token_id, model.generation_config.eos_token_id} if end is not None
        ]
        settings_of_generate = {
            "max_new_tokens": 12,
            "do_sample": False,
            "pad_token_id": 0,
            "eos_token_id": ends,
        }
        written = model.generate(ids, **settings_of_generate)[0, ids.shape[1] :]
        kept = [token for token in written.tolist() if token not in ends]
        assert text == tokenizer.decode(kept, skip_special_tokens=True).rstrip("\ufffd")


async def test_a_context_is_read_once(engine: Engine, stored: Stored) -> None:
    ref = stored("llama")[0]
    context = ContextRef("read-once", DOCUMENTS)
    token_count, read = await engine.prefill(PrefillCall(ref, context))  # type: ignore[misc]
    assert read.prompt_tokens == token_count
    first = await engine.score(ScoreCall(ref, context, ITEMS))
    again = await engine.score(ScoreCall(ref, context, ITEMS))
    assert not isinstance(first, Refused)
    assert not isinstance(again, Refused)
    assert first.spent.cached_tokens == len(ITEMS) * token_count
    new = again.spent.prompt_tokens - again.spent.cached_tokens
    # Each prompt once, each choice without its last token.
    assert new < sum(len(p) + sum(map(len, c)) for p, c in ITEMS)
    assert first.items == again.items


async def test_a_context_that_left_the_cache_is_read_again(stored: Stored) -> None:
    ref, _, settings = stored("llama")
    engine = Engine(settings.model_copy(update={"cache_bytes": 1}))
    first = await engine.score(ScoreCall(ref, ContextRef("a", DOCUMENTS), ITEMS))
    await engine.score(ScoreCall(ref, ContextRef("b", DOCUMENTS + " more"), ITEMS))
    again = await engine.score(ScoreCall(ref, ContextRef("a", DOCUMENTS), ITEMS))
    assert first.items == again.items  # type: ignore[union-attr]
    assert again.spent.prompt_tokens == first.spent.prompt_tokens  # type: ignore[union-attr]


async def test_batching_does_not_change_what_is_sampled(engine: Engine, stored: Stored) -> None:
    ref = stored("llama")[0]
    prompts = [f"the {word} is" for word in ["one", "two", "three", "four", "five"]]
    call = GenerateCall(ref, None, prompts, max_tokens=10, temperature=0.9, top_p=0.95, seed=5)
    together = await engine.generate(call)
    alone = await engine.generate(
        GenerateCall(ref, None, prompts[:1], max_tokens=10, temperature=0.9, top_p=0.95, seed=5)
    )
    other = await engine.generate(
        GenerateCall(ref, None, prompts, max_tokens=10, temperature=0.9, top_p=0.95, seed=6)
    )
    assert together.texts[0] == alone.texts[0]  # type: ignore[union-attr]
    assert together.texts != other.texts  # type: ignore[union-attr]


async def test_a_stream_joins_to_the_whole_text(engine: Engine, stored: Stored) -> None:
    ref = stored("llama")[0]
    call = GenerateCall(ref, ContextRef("s", DOCUMENTS), ["which tools"], max_tokens=15)
    whole = await engine.generate(call)
    pieces = [piece async for piece in engine.stream(call)]
    assert "".join(piece.text for piece in pieces) == whole.texts[0]  # type: ignore[union-attr]
    assert pieces[-1].spent.generated_tokens == whole.token_counts[0]  # type: ignore[union-attr]


async def test_stop_strings_end_a_text(engine: Engine, stored: Stored) -> None:
    ref = stored("llama")[0]
    whole = await engine.generate(GenerateCall(ref, None, ["the"], max_tokens=20))
    text = whole.texts[0]  # type: ignore[union-attr]
    stop = text[5:7]
    ended = await engine.generate(GenerateCall(ref, None, ["the"], max_tokens=20, stop=[stop]))
    assert ended.texts[0] == text[: text.index(stop)]  # type: ignore[union-attr]
    assert ended.finished == [True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "shown"), [("a\n", "a"), ("ab", "ab"), ("a\nQ", "a"), ("a\nQu", "a"), ("a\nx", "a\nx")]
)
def test_what_may_become_a_stop_string_is_held_back(text: str, shown: str) -> None:
    assert held_back(text, ["\nQuestion"]) == shown


async def test_what_is_too_long_is_refused_with_the_counts(engine: Engine, stored: Stored) -> None:
    ref = stored("llama")[0]
    long = "the old bridge " * 400
    (count,) = await engine.count(CountCall(ref, [long]))  # type: ignore[misc]
    for answer in (
        await engine.score(ScoreCall(ref, None, [(long, ["a", "b"])])),
        await engine.generate(GenerateCall(ref, None, [long])),
        await engine.prefill(PrefillCall(ref, ContextRef("long", long))),
    ):
        assert isinstance(answer, Refused)
        assert answer.metadata["context_window"] == "512"
        assert int(answer.metadata["token_count"]) >= count - 1


async def test_the_window_ends_a_text(engine: Engine, stored: Stored) -> None:
    ref = stored("llama")[0]
    small = ModelRef(ref.name, ref.sha256, ref.uri, False, 12, ref.parameter_count, 2, 64)
    answer = await engine.generate(GenerateCall(small, None, ["the old bridge"], max_tokens=50))
    (count,) = await engine.count(CountCall(ref, ["the old bridge"]))  # type: ignore[misc]
    assert answer.token_counts[0] <= 12 - count  # type: ignore[union-attr]


async def test_a_flipped_byte_is_found(stored: Stored, tmp_path: Path) -> None:
    ref, _, settings = stored("phi")
    key = settings.storage.removeprefix("file://") + "/projects/p/models/phi/a/config.json"
    original = Path(key).read_bytes()
    Path(key).write_bytes(original.replace(b"64", b"65", 1))
    try:
        answer = await Engine(settings.model_copy(update={"scratch": tmp_path})).count(CountCall(ref, ["a"]))
    finally:
        Path(key).write_bytes(original)
    assert isinstance(answer, Refused)
    assert answer.reason == "MODEL_CORRUPT"
