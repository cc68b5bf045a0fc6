"""The second engine says what the first says, and scoring never loses the prefix cache."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.inference.engine.render import Rendered
from services.inference.engine.replica import Engine
from services.inference.vllm_engine.trees import tree_of
from services.inference.wire import (
    ChatPrompt,
    ContextRef,
    CountCall,
    GenerateCall,
    PrefillCall,
    Raw,
    Refused,
    ScoreCall,
)

DOCUMENTS = "\n".join(f"the bralo number {n} is bigger than the cemid." for n in range(12))
CONTEXT = ContextRef("digest", DOCUMENTS)
ITEMS = [
    ("the cemid is", ["smaller than the bralo.", "bigger than the bralo.", "old."]),
    ("a dovun was", ["seen near the bridge.", "seen near the bralo."]),
    ("which", ["tools are there?", "bridge?"]),
]
PROMPTS = ["the cemid is", "a dovun was", "which"]


@pytest.mark.parametrize("context", [None, CONTEXT], ids=["alone", "in context"])
@pytest.mark.parametrize("name", ["llama", "chat", "adapter"])
async def test_scores_are_those_of_the_first_engine(
    name: str, context: ContextRef | None, stored: Any, second_engine: Any
) -> None:
    ref = stored(name).ref
    ours, _ = second_engine("llama" if name == "adapter" else name)
    theirs = await Engine(stored(name).settings).score(ScoreCall(ref, context, ITEMS))
    found = await ours.score(ScoreCall(ref, context, ITEMS))
    assert not isinstance(found, Refused), found
    assert not isinstance(theirs, Refused), theirs
    for mine, other in zip(found.items, theirs.items, strict=True):
        assert [count for _, count in mine] == [count for _, count in other]
        assert [total for total, _ in mine] == pytest.approx([total for total, _ in other], abs=1e-4)


async def test_scoring_reads_a_context_once_and_asks_for_no_prompt_logprobs(
    stored: Any, second_engine: Any, facts: dict[str, Any]
) -> None:
    ours, llm = second_engine("llama")
    ref, block = stored("llama").ref, facts["values"]["block_size"]
    prefilled = await ours.prefill(PrefillCall(ref, CONTEXT))
    length = prefilled.token_count
    assert llm.computed == length
    llm.computed = 0
    items = ITEMS * 4
    answer = await ours.score(ScoreCall(ref, CONTEXT, items))
    assert all(params.prompt_logprobs is None for params in llm.requests)
    looks = len(llm.requests) - 1
    # Each look computes a piece of a block and what stands behind it; none computes the context.
    questions = answer.spent.prompt_tokens - length * len(items)
    assert llm.computed <= questions + looks * block
    assert llm.computed < looks * length / 5
    assert answer.spent.cached_tokens > 0.8 * length * len(items)
    # The same once more: everything but the last pieces is there, and the numbers are the same.
    llm.computed = 0
    again = await ours.score(ScoreCall(ref, CONTEXT, items))
    assert again.items == answer.items
    assert llm.computed <= looks * block
    # What the usual way would have computed: each choice with its context, whatever is cached.
    from vllm import SamplingParams

    llm.computed = 0
    ids = llm.tokenizer(DOCUMENTS)["input_ids"]
    params = SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0.0)
    async for _ in llm.generate({"prompt_token_ids": ids}, params, "usual"):
        pass
    assert llm.computed == len(ids)


def test_choices_that_begin_alike_share_their_looks() -> None:
    trunk = [1, 2, 3]
    choices = [Rendered([*trunk, *end], 3) for end in ([5, 6, 7], [5, 6, 8], [9])]
    tree = tree_of(choices)
    assert tree.trunk == trunk
    assert [(look.place, look.tokens) for look in tree.looks] == [
        ((), (5, 9)),
        ((5,), (6,)),
        ((5, 6), (7, 8)),
    ]
    assert tree.read_count == 5
    found = {(): {5: -1.0, 9: -2.0}, (5,): {6: -0.5}, (5, 6): {7: -0.25, 8: -4.0}}
    assert tree.scores(found) == [(-1.75, 3), (-5.5, 3), (-2.0, 1)]


def test_a_token_that_straddles_prompt_and_choice_belongs_to_the_choice() -> None:
    tree = tree_of([Rendered([1, 2, 7], 2), Rendered([1, 8, 9], 1)])
    assert tree.trunk == [1]
    # The first choice begins behind token 2, which is read and not scored.
    assert [(look.place, look.tokens) for look in tree.looks] == [((), (8,)), ((2,), (7,)), ((8,), (9,))]
    assert tree.scores({(): {8: -1.0}, (2,): {7: -2.0}, (8,): {9: -3.0}}) == [(-2.0, 1), (-4.0, 2)]


@pytest.mark.parametrize("context", [None, CONTEXT], ids=["alone", "in context"])
@pytest.mark.parametrize("name", ["llama", "chat", "adapter"])
async def test_texts_and_log_probabilities_are_those_of_the_first_engine(
    name: str, context: ContextRef | None, stored: Any, second_engine: Any
) -> None:
    ref = stored(name).ref
    ours, _ = second_engine("llama" if name == "adapter" else name)
    chat = ChatPrompt((("system", "be short"), ("user", "which tools?")))
    call = GenerateCall(
        ref, context, [*PROMPTS, Raw("the"), chat], max_tokens=6, logprobs=True, top_logprobs=2
    )
    theirs = await Engine(stored(name).settings).generate(call)
    found = await ours.generate(call)
    assert not isinstance(found, Refused), found
    assert not isinstance(theirs, Refused), theirs
    for mine, other in zip(found.continuations, theirs.continuations, strict=True):
        assert (mine.text, mine.token_count, mine.finished) == (other.text, other.token_count, other.finished)
        assert mine.prompt_count == other.prompt_count
        for token, same in zip(mine.tokens, other.tokens, strict=True):
            assert (token.id, token.text) == (same.id, same.text)
            assert token.logprob == pytest.approx(same.logprob, abs=1e-4)
            assert [top.id for top in token.top] == [top.id for top in same.top]
    assert found.spent.generated_tokens == theirs.spent.generated_tokens
    assert found.spent.prompt_tokens == sum(one.prompt_count for one in found.continuations)


async def test_a_prompt_s_own_tokens_are_all_described(stored: Any, second_engine: Any) -> None:
    """Also where the cache holds them: such a request does not read it."""
    ours, _ = second_engine("llama")
    call = GenerateCall(
        stored("llama").ref, None, [Raw(DOCUMENTS)], max_tokens=0, prompt_logprobs=True, top_logprobs=1
    )
    await ours.generate(call)
    (one,) = (await ours.generate(call)).continuations
    (other,) = (await Engine(stored("llama").settings).generate(call)).continuations
    assert (one.text, one.token_count, one.cached_count) == ("", 0, 0)
    assert [token.id for token in one.prompt_tokens] == [token.id for token in other.prompt_tokens]
    assert one.prompt_tokens[0].logprob is None
    assert [token.logprob for token in one.prompt_tokens[1:]] == pytest.approx(
        [token.logprob for token in other.prompt_tokens[1:]], abs=1e-4
    )


async def test_what_is_drawn_depends_on_seed_and_prompt_only(stored: Any, second_engine: Any) -> None:
    ours, llm = second_engine("llama")
    call = GenerateCall(stored("llama").ref, None, list(PROMPTS), max_tokens=8, temperature=1.0, seed=5)
    first = [one.text for one in (await ours.generate(call)).continuations]
    turned = await ours.generate(replace(call, prompts=PROMPTS[::-1], bulk=True))
    assert [one.text for one in turned.continuations] == first[::-1]
    assert llm.priorities == [0, 0, 0, 1, 1, 1]
    assert [one.text for one in (await ours.generate(replace(call, seed=6))).continuations] != first


async def test_a_stream_is_the_text_in_pieces_and_ends_when_nobody_listens(
    stored: Any, second_engine: Any
) -> None:
    ours, llm = second_engine("llama")
    call = GenerateCall(stored("llama").ref, CONTEXT, ["the cemid is"], max_tokens=8, logprobs=True)
    (whole,) = (await ours.generate(call)).continuations
    pieces = [piece async for piece in ours.stream(call)]
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [token.id for piece in pieces for token in piece.tokens] == [token.id for token in whole.tokens]
    assert pieces[-1].spent.generated_tokens == whole.token_count
    stream = ours.stream(call)
    await anext(stream)
    await stream.aclose()
    assert (llm.aborted, llm.at_work) == (1, 0)
    llm.pause.clear()
    asking = asyncio.create_task(ours.generate(call))
    while not llm.at_work:
        await asyncio.sleep(0)
    assert (await ours.facts()).held.running_count == 1
    asking.cancel()
    await asyncio.wait([asking])
    assert (llm.aborted, llm.at_work) == (2, 0)


async def test_adapters_never_share_a_cache(stored: Any, second_engine: Any) -> None:
    base, adapter = stored("llama").ref, stored("adapter").ref
    ours, llm = second_engine("llama")
    again = replace(adapter, sha256="7" * 64, name="projects/p/models/adapter-2")
    folder = stored("llama").settings.scratch / "models"
    answers = []
    for ref in (base, adapter, base, adapter):
        answers.append((await ours.score(ScoreCall(ref, CONTEXT, ITEMS))).items)
    assert answers[0] == answers[2] != answers[1] == answers[3]
    numbers = {lora.lora_int_id for lora in llm.loras if lora}
    assert numbers == {1}
    (folder / again.sha256).symlink_to(folder / adapter.sha256)
    await ours.score(ScoreCall(again, None, ITEMS))
    assert llm.loras[-1].lora_int_id == 2
    assert Path(llm.loras[-1].lora_path, "adapter_config.json").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompts": ["word " * 600]}, "PROMPT_TOO_LONG"),
        ({"json_schema": json.dumps({"type": "nonsense"})}, "BAD_SCHEMA"),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    change: dict[str, Any], reason: str, stored: Any, second_engine: Any
) -> None:
    ours, _ = second_engine("llama")
    answer = await ours.generate(replace(GenerateCall(stored("llama").ref, None, list(PROMPTS)), **change))
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.kind) == (reason, "Invalid")
    (piece,) = [
        piece
        async for piece in ours.stream(
            replace(GenerateCall(stored("llama").ref, None, PROMPTS[:1]), **change)
        )
    ]
    assert isinstance(piece, Refused)


async def test_one_base_model_for_a_deployment(stored: Any, second_engine: Any) -> None:
    ours, _ = second_engine("llama")
    answer = await ours.count(CountCall(stored("qwen3").ref, ["x"]))
    assert (answer.reason, answer.kind) == ("ANOTHER_BASE_MODEL", "WrongState")
    assert await ours.count(CountCall(stored("llama").ref, ["the bralo", ""])) == [2, 0]


async def test_no_more_wait_than_may(stored: Any, second_engine: Callable[[str], Any]) -> None:
    ours, llm = second_engine("llama")
    ours._settings = ours._settings.model_copy(update={"max_queued": 1})
    llm.pause.clear()
    call = GenerateCall(stored("llama").ref, None, PROMPTS[:1], max_tokens=1)
    first = asyncio.create_task(ours.generate(call))
    while not llm.at_work:
        await asyncio.sleep(0)
    refused = await ours.generate(call)
    assert (refused.reason, refused.retry_after_s) == ("ENGINE_BUSY", 1.0)
    llm.pause.set()
    assert not isinstance(await first, Refused)


async def test_a_full_window_writes_nothing(stored: Any, second_engine: Any) -> None:
    ours, llm = second_engine("llama")
    ref = stored("llama").ref
    (count,) = await ours.count(CountCall(ref, [DOCUMENTS]))
    full = replace(ref, context_window=count)
    answer = await ours.generate(GenerateCall(full, None, [Raw(DOCUMENTS)], max_tokens=5))
    assert (answer.continuations[0].text, answer.continuations[0].finished) == ("", False)
    assert not llm.requests
