"""Texts against transformers' own generate; streams; what ends a text."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.engine.replica import Engine, held_back
from services.inference.engine.sampling import pick
from services.inference.wire import ContextRef, CountCall, GenerateCall, Refused

DOCUMENTS = "the bralo is bigger than the cemid.\na dovun was seen near the old bridge, twice."
PROMPTS = ["the cemid is", "a dovun was", "which"]


async def written(engine: Engine, ref: Any, prompts: list[str], context: Any = None, **options: Any) -> Any:
    answer = await engine.generate(GenerateCall(ref, context, prompts, **options))
    assert not isinstance(answer, Refused), answer
    return answer


@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["alone", "in context"])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "gemma3", "mistral-sliding"])
async def test_greedy_texts_are_those_of_generate(
    stored: Callable[[str], Any], name: str, documents: str | None
) -> None:
    tiny = stored(name)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny.folder),
        AutoTokenizer.from_pretrained(tiny.folder),
    )
    context = ContextRef("digest", documents) if documents else None
    answer = await written(Engine(tiny.settings), tiny.ref, PROMPTS, context, max_tokens=12)
    ends = [tokenizer.eos_token_id, model.generation_config.eos_token_id]
    ends = [end for end in ends if end is not None]
    for prompt, text, count in zip(PROMPTS, answer.texts, answer.token_counts, strict=True):
        before = f"{documents}\n\n{prompt}" if documents else prompt
        ids = tokenizer(before, return_tensors="pt")["input_ids"]
        options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": ends}
        expected = model.generate(ids, **options)[0, ids.shape[1] :].tolist()
        assert count == len(expected)
        kept = [token for token in expected if token not in ends]
        assert text == tokenizer.decode(kept, skip_special_tokens=True).rstrip("\ufffd")


async def test_batching_does_not_change_what_is_sampled(engine: Engine, stored: Callable[[str], Any]) -> None:
    ref = stored("llama").ref
    prompts = [f"the {word} is" for word in ["one", "two", "three", "four", "five"]] * 10
    options = {"max_tokens": 10, "temperature": 0.9, "top_p": 0.95}
    together = await written(engine, ref, prompts, seed=5, **options)
    for count in (1, 3):
        few = await written(engine, ref, prompts[:count], seed=5, **options)
        assert few.texts == together.texts[:count]
    # The same prompt at another place draws from another stream, and so does another seed.
    assert together.texts[0] != together.texts[5]
    assert together.texts != (await written(engine, ref, prompts, seed=6, **options)).texts


def test_only_the_nucleus_is_drawn_from() -> None:
    logprobs_V = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    stream = torch.Generator().manual_seed(0)
    drawn = {top_p: {pick(logprobs_V, 1.0, top_p, stream) for _ in range(300)} for top_p in (0.5, 0.7, 1.0)}
    assert drawn == {0.5: {0}, 0.7: {0, 1}, 1.0: {0, 1, 2, 3}}
    assert pick(logprobs_V, 0.0, 1.0, stream) == 0


def test_sampling_follows_the_temperature() -> None:
    logprobs_V = torch.tensor([0.8, 0.2]).log()
    stream = torch.Generator().manual_seed(1)
    hot = sum(pick(logprobs_V, 2.0, 1.0, stream) for _ in range(4000)) / 4000
    assert hot == pytest.approx(1 / 3, abs=0.03)  # sqrt(0.2) / (sqrt(0.8) + sqrt(0.2))


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_stream_joins_to_the_whole_text(stored: Callable[[str], Any], name: str, seed: int) -> None:
    tiny = stored(name)
    engine = Engine(tiny.settings)
    # A hot random model writes many broken characters.
    options = {"max_tokens": 40, "temperature": 2.0, "seed": seed, "stop": ["is", "\n"]}
    call = GenerateCall(tiny.ref, ContextRef("s", DOCUMENTS), ["which tools"], **options)
    whole = await engine.generate(call)
    pieces: list[Any] = [piece async for piece in engine.stream(call)]
    assert "".join(piece.text for piece in pieces) == whole.texts[0]  # type: ignore[union-attr]
    assert pieces[-1].spent.generated_tokens == whole.token_counts[0]  # type: ignore[union-attr]
    assert pieces[-1].finished == whole.finished[0]  # type: ignore[union-attr]
    assert all(piece.spent is None for piece in pieces[:-1])
    assert pieces[-1].spent.compute_s > 0


async def test_stop_strings_end_a_text(engine: Engine, stored: Callable[[str], Any]) -> None:
    ref = stored("llama").ref
    text = (await written(engine, ref, ["the"], max_tokens=20)).texts[0]
    stop = text[5:7]
    ended = await written(engine, ref, ["the"], max_tokens=20, stop=["never", stop])
    assert ended.texts == [text[: text.index(stop)]]
    assert ended.finished == [True]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\n", "a"), ("ab", "ab"), ("a\nQ", "a"), ("a\nQu", "a"), ("a\nx", "a\nx"), ("b#", "b")],
)
def test_what_may_become_a_stop_string_is_held_back(text: str, shown: str) -> None:
    assert held_back(text, ["\nQuestion", "##"]) == shown


async def test_the_window_ends_a_text(engine: Engine, stored: Callable[[str], Any]) -> None:
    ref = replace(stored("llama").ref, context_window=12)
    prompt = "the old bridge"
    (count,) = await engine.count(CountCall(ref, [prompt]))  # type: ignore[misc]
    answer = await written(engine, ref, [prompt], max_tokens=50)
    assert answer.token_counts == [12 - count]
    assert answer.finished == [False]
    full = await written(engine, replace(ref, context_window=count), [prompt], max_tokens=50)
    assert (full.texts, full.token_counts, full.finished) == ([""], [0], [False])


async def test_tokens_of_a_context_are_counted_as_cached(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    ref = stored("llama").ref
    context = ContextRef("counted", DOCUMENTS)
    first = await written(engine, ref, PROMPTS, context, max_tokens=5)
    again = await written(engine, ref, PROMPTS, context, max_tokens=5)
    (tokens,) = await engine.count(CountCall(ref, [DOCUMENTS]))  # type: ignore[misc]
    assert first.spent.prompt_tokens - again.spent.prompt_tokens == tokens
    assert again.spent.cached_tokens == tokens * len(PROMPTS)
    assert again.spent.generated_tokens == sum(again.token_counts)
    assert first.texts == again.texts
