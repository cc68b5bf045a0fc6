"""Scores against plain transformers: one forward pass per choice gives the same numbers, whatever is shared."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.engine import lanes, scoring
from services.inference.engine.plain import shares_rows
from services.inference.engine.replica import Engine
from services.inference.wire import ContextRef, CountCall, PrefillCall, Refused, ScoreCall

SHARING = ["llama", "qwen3", "mistral", "gemma", "phi", "gpt2"]
APART = ["gemma3", "mistral-sliding", "llama-dynamic"]
DOCUMENTS = "the bralo is bigger than the cemid.\na dovun was seen near the old bridge, twice."
ITEMS = [
    ("the cemid is", ["smaller than the bralo.", "bigger than the bralo.", "old."]),
    ("a dovun was", ["seen near the bridge.", "seen near the bralo."]),
    ("which", ["tools are there?", "bridge?"]),
]


def plain_score(model: Any, tokenizer: Any, before: str, choice: str) -> tuple[float, int]:
    """One forward pass of the whole; tokens that reach over the prompt's characters are the choice's."""
    encoded = tokenizer(before + choice, return_offsets_mapping=True)
    ids = torch.tensor([encoded["input_ids"]])
    with torch.inference_mode():
        logprobs_TV = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    places = [i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end > len(before)]
    return sum(float(logprobs_TV[i - 1, ids[0, i]]) for i in places), len(places)


async def scored(engine: Engine, *arguments: Any) -> Any:
    answer = await engine.score(ScoreCall(*arguments))
    assert not isinstance(answer, Refused), answer
    return answer


@pytest.mark.parametrize("documents", [None, DOCUMENTS], ids=["alone", "in context"])
@pytest.mark.parametrize("name", [*SHARING, *APART])
async def test_scores_are_those_of_plain_forward_passes(
    stored: Callable[[str], Any], name: str, documents: str | None
) -> None:
    tiny = stored(name)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny.folder),
        AutoTokenizer.from_pretrained(tiny.folder),
    )
    context = ContextRef("digest", documents) if documents else None
    answer = await scored(Engine(tiny.settings), tiny.ref, context, ITEMS)
    for (prompt, choices), scores in zip(ITEMS, answer.items, strict=True):
        before = f"{documents}\n\n{prompt}" if documents else prompt
        for choice, (total, count) in zip(choices, scores, strict=True):
            expected, tokens = plain_score(model, tokenizer, before, " " + choice)
            assert count == tokens
            assert total == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "mistral-sliding"])
async def test_in_bfloat16_they_are_those_of_plain_passes_in_it(
    stored: Callable[[str], Any], name: str
) -> None:
    """Within 3e-2 nats, and the same choice wherever more lies between the best two."""
    tiny = stored(name)
    model = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype="bfloat16")
    tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
    engine = Engine(tiny.settings.model_copy(update={"dtype": "bfloat16"}))
    answer = await scored(engine, tiny.ref, ContextRef("half", DOCUMENTS), ITEMS)
    for (prompt, choices), scores in zip(ITEMS, answer.items, strict=True):
        before = f"{DOCUMENTS}\n\n{prompt}"
        expected = [plain_score(model, tokenizer, before, " " + choice)[0] for choice in choices]
        found = [total for total, _ in scores]
        assert found == pytest.approx(expected, abs=3e-2)
        best, second, *_ = sorted(expected, reverse=True)
        assert best - second <= 3e-2 or found.index(max(found)) == expected.index(best)


@pytest.mark.parametrize("name", [*SHARING, *APART])
def test_a_model_says_itself_whether_rows_can_be_shared(stored: Callable[[str], Any], name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(stored(name).folder).eval()
    assert shares_rows(model) is (name in SHARING)


async def test_many_items_give_the_same_in_groups_as_alone(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    ref, context = stored("llama").ref, ContextRef("many", DOCUMENTS)
    items = [(f"{prompt} {number}", choices) for number in range(60) for prompt, choices in ITEMS]
    together = await scored(engine, ref, context, items)
    for index in (0, 77, 179):
        (alone,) = (await scored(engine, ref, context, [items[index]])).items
        for (total, count), (expected, tokens) in zip(together.items[index], alone, strict=True):
            assert count == tokens
            assert total == pytest.approx(expected, abs=1e-4)


async def test_a_context_is_read_once_and_shared(
    engine: Engine, stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, context, fed = stored("llama").ref, ContextRef("read-once", DOCUMENTS), []
    forward = lanes.forward

    def counted(model: Any, shelves: Any, entries: list[Any]) -> Any:
        fed.append(sum(len(entry.feed.tokens) for entry in entries))
        return forward(model, shelves, entries)

    monkeypatch.setattr(lanes, "forward", counted)
    read: Any = await engine.prefill(PrefillCall(ref, context))
    token_count = read.token_count
    assert read.spent.prompt_tokens == token_count == sum(fed)
    assert read.cache_bytes == token_count * 2 * 2 * 64 * 4  # layers, keys and values, width, fp32
    fed.clear()
    answer = await scored(engine, ref, context, ITEMS)
    assert answer.spent.cached_tokens == len(ITEMS) * token_count
    assert answer.spent.prompt_tokens - answer.spent.cached_tokens == sum(fed)
    texts = [text for prompt, choices in ITEMS for text in (f"\n\n{prompt}", *(f" {c}" for c in choices))]
    counts = await engine.count(CountCall(ref, texts))
    # Each prompt once, each choice without its last token.
    assert sum(fed) <= sum(counts) - sum(len(choices) for _, choices in ITEMS)  # type: ignore[arg-type]


async def test_the_head_is_computed_where_a_probability_is_needed_and_nowhere_else(
    engine: Engine, stored: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, context, rows = stored("llama").ref, ContextRef("head", DOCUMENTS), []
    await engine.prefill(PrefillCall(ref, context))
    forward = lanes.forward

    def counted(model: Any, shelves: Any, entries: list[Any]) -> Any:
        head = model.get_output_embeddings()
        hook = head.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[-2]))
        try:
            return forward(model, shelves, entries)
        finally:
            hook.remove()

    monkeypatch.setattr(lanes, "forward", counted)
    answer = await scored(engine, ref, context, ITEMS)
    # Of each question the last token, of each choice all but the last.
    assert 0 < sum(rows) <= sum(1 + sum(count - 1 for _, count in scores) for scores in answer.items)


async def test_what_reading_took_is_said_again_for_another_context_of_the_same_text(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    ref = stored("llama").ref
    first = await engine.prefill(PrefillCall(ref, ContextRef("same", DOCUMENTS)))
    assert await engine.prefill(PrefillCall(ref, ContextRef("same", DOCUMENTS))) == first
    assert first.spent.flops > 0  # type: ignore[union-attr]


async def test_a_context_that_left_the_cache_is_read_and_counted_again(stored: Callable[[str], Any]) -> None:
    tiny = stored("llama")
    engine = Engine(tiny.settings.model_copy(update={"cache_bytes": 30_000, "spill_bytes": 0}))
    first = await scored(engine, tiny.ref, ContextRef("a", DOCUMENTS), ITEMS)
    warm = await scored(engine, tiny.ref, ContextRef("a", DOCUMENTS), ITEMS)
    await scored(engine, tiny.ref, ContextRef("b", DOCUMENTS + " more"), ITEMS)
    again = await scored(engine, tiny.ref, ContextRef("a", DOCUMENTS), ITEMS)
    assert first.items == warm.items == again.items
    assert warm.spent.prompt_tokens < first.spent.prompt_tokens == again.spent.prompt_tokens
    assert warm.spent.flops < first.spent.flops == again.spent.flops


async def test_an_adapter_says_something_else_than_its_base_and_shares_no_cache(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    adapter, base = stored("adapter"), stored("llama")
    context = ContextRef("shared text", DOCUMENTS)
    of_base = await scored(engine, base.ref, context, ITEMS)
    of_adapter = await scored(engine, adapter.ref, context, ITEMS)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder), adapter.folder)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    prompt, choices = ITEMS[0]
    expected, _ = plain_score(model, tokenizer, f"{DOCUMENTS}\n\n{prompt}", " " + choices[0])
    assert of_adapter.items[0][0][0] == pytest.approx(expected, abs=2e-4)
    assert abs(of_base.items[0][0][0] - expected) > 0.1


async def test_the_same_adapter_on_another_base_is_another_model(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    adapter, other = stored("adapter").ref, stored("chat").ref
    one = await scored(engine, adapter, None, ITEMS)
    two = await scored(engine, replace(adapter, base=other), None, ITEMS)
    assert one.items != two.items


async def test_chat_models_get_the_prompt_as_a_user_and_answer_as_the_assistant(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    tiny = stored("chat")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny.folder),
        AutoTokenizer.from_pretrained(tiny.folder),
    )
    answer = await scored(engine, tiny.ref, ContextRef("chat", DOCUMENTS), ITEMS)
    assert answer.spent.cached_tokens > 3 * 20
    for (prompt, choices), scores in zip(ITEMS, answer.items, strict=True):
        before = f"<user>\n{DOCUMENTS}\n\n{prompt}<eos>\n<assistant>\n"
        for choice, (total, count) in zip(choices, scores, strict=True):
            expected, tokens = plain_score(model, tokenizer, before, choice)
            assert (count, total) == (tokens, pytest.approx(expected, abs=1e-4))


async def test_a_token_that_straddles_the_boundary_is_the_choices(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    tiny = stored("llama")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny.folder),
        AutoTokenizer.from_pretrained(tiny.folder),
    )
    # One token, " bridge", holds the prompt's last space and a choice's letters; other choices leave it alone.
    prompt, choices = "the old ", ["bridge, twice.", "\tbridge", "tools"]
    answer = await scored(engine, tiny.ref, None, [(prompt, choices)])
    merged = tokenizer("the old bridge", return_offsets_mapping=True)["offset_mapping"]
    assert any(begin < len(prompt) < end for begin, end in merged)
    for choice, (total, count) in zip(choices, answer.items[0], strict=True):
        expected, tokens = plain_score(model, tokenizer, prompt, choice)
        assert (count, total) == (tokens, pytest.approx(expected, abs=1e-4))


async def test_a_choice_without_anything_before_it_is_a_text_by_itself(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    tiny = stored("llama")
    model = AutoModelForCausalLM.from_pretrained(tiny.folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
    answer = await scored(engine, tiny.ref, None, [*ITEMS, ("", ["tools"])])
    ids = tokenizer("tools", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([[tokenizer.eos_token_id, *ids]])).logits[0, :-1].log_softmax(-1)
    expected = float(sum(logits[index, token] for index, token in enumerate(ids)))
    assert answer.items[3] == [(pytest.approx(expected, abs=1e-4), len(ids))]


def test_choices_share_what_they_begin_with_but_keep_their_last_token() -> None:
    from services.inference.engine.render import Rendered

    choices = [Rendered([1, 2, 3, 4, 5], 3), Rendered([1, 2, 3, 4], 3)]
    assert scoring.shared_length(choices) == 3
    assert scoring.shared_length([Rendered([1, 2, 3], 1)]) == 1
    assert scoring.shared_length([Rendered([1, 2, 9, 4], 3), Rendered([1, 7], 1)]) == 1
