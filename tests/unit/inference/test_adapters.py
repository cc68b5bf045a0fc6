"""Adapters beside shared weights: each says what it says merged, many in one pass, and no cache ever mixes two."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.engine import lanes, models
from services.inference.engine.adapters import scale_of
from services.inference.engine.replica import Engine
from services.inference.wire import ContextRef, GenerateCall, ModelRef, Refused, ScoreCall

DOCUMENTS = "the bralo is bigger than the cemid.\na dovun was seen near the old bridge, twice."
ITEMS = [("the cemid is", ["smaller than the bralo.", "old."]), ("a dovun was", ["seen near the bridge."])]
KINDS: dict[str, dict[str, Any]] = {
    "rank 2": {"r": 2},
    "rank 16": {"r": 16, "lora_alpha": 8},
    "rank-stabilised": {"r": 8, "use_rslora": True},
    "patterns": {"r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
    "dora": {"r": 4, "use_dora": True},
    "with a trained head": {"r": 4, "modules_to_save": ["lm_head"]},
}


@pytest.fixture(scope="module")
def adapters(
    stored: Callable[[str], Any], tiny: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[ModelRef, Path]]:
    """A kind's name -> an adapter on the llama, stored."""
    base = stored("llama")
    storage = Path(base.settings.storage.removeprefix("file://"))
    made: dict[str, tuple[ModelRef, Path]] = {}

    def make(kind: str) -> tuple[ModelRef, Path]:
        if kind not in made:
            folder = tmp_path_factory.mktemp("adapter")
            torch.manual_seed(len(made))
            settings = {"target_modules": ["q_proj", "v_proj", "down_proj"], **KINDS[kind]}
            model = get_peft_model(
                AutoModelForCausalLM.from_pretrained(base.folder),
                LoraConfig(task_type="CAUSAL_LM", **settings),
            )
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if "lora_B" in name or ("modules_to_save" in name):
                        parameter.add_(0.3 * torch.randn_like(parameter))
            model.save_pretrained(folder)
            name = f"adapter-{len(made)}"
            uri, sha256 = tiny.publish(folder, storage, f"projects/p/models/{name}/a")
            made[kind] = tiny.describe(name, uri, sha256, base=base.ref), folder
        return made[kind]

    return make


def merged_score(base: Path, adapter: Path, before: str, choice: str) -> float:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer(before + choice, return_offsets_mapping=True)
    ids = torch.tensor([encoded["input_ids"]])
    with torch.inference_mode():
        logprobs_TV = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    places = [i for i, (_, end) in enumerate(encoded["offset_mapping"]) if end > len(before)]
    return sum(float(logprobs_TV[i - 1, ids[0, i]]) for i in places)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_adapter_scores_as_peft_does(
    engine: Engine, stored: Callable[[str], Any], adapters: Callable[[str], Any], kind: str
) -> None:
    ref, folder = adapters(kind)
    answer: Any = await engine.score(ScoreCall(ref, ContextRef("d", DOCUMENTS), ITEMS))
    for (prompt, choices), scores in zip(ITEMS, answer.items, strict=True):
        for choice, (total, _) in zip(choices, scores, strict=True):
            before = f"{DOCUMENTS}\n\n{prompt}"
            expected = merged_score(stored("llama").folder, folder, before, " " + choice)
            assert total == pytest.approx(expected, abs=3e-4)


async def test_adapters_of_different_ranks_and_their_base_are_computed_in_one_pass(
    engine: Engine,
    stored: Callable[[str], Any],
    adapters: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refs = [stored("llama").ref, *(adapters(kind)[0] for kind in ("rank 2", "rank 16", "patterns"))]
    context = ContextRef("mixed", DOCUMENTS)
    calls = [GenerateCall(ref, context, ["the cemid is"], max_tokens=12, temperature=0.5) for ref in refs]
    apart: list[Any] = [await engine.generate(call) for call in calls]
    passes: list[set[int]] = []
    forward = lanes.forward

    def watched(model: Any, shelves: Any, entries: list[Any]) -> Any:
        passes.append({id(entry.adapter) for entry in entries})
        return forward(model, shelves, entries)

    monkeypatch.setattr(lanes, "forward", watched)
    together: list[Any] = await asyncio.gather(*(engine.generate(call) for call in calls))
    assert [one.texts for one in together] == [one.texts for one in apart]
    assert len({one.texts[0] for one in together}) > 1
    assert max(len(adapters) for adapters in passes) >= 3


async def test_one_copy_of_the_base_serves_all_that_can_share_it(
    engine: Engine,
    stored: Callable[[str], Any],
    adapters: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[Any] = []
    load = models.load_weights
    monkeypatch.setattr(models, "load_weights", lambda *a: loads.append(a[1]) or load(*a))
    for ref in [stored("llama").ref, adapters("rank 2")[0], adapters("rank 16")[0], adapters("dora")[0]]:
        assert not isinstance(await engine.score(ScoreCall(ref, None, ITEMS)), Refused)
    assert [adapter is not None for adapter in loads] == [False, True]  # the base, and the merged one


async def test_no_cache_mixes_two_adapters(
    engine: Engine, stored: Callable[[str], Any], adapters: Callable[[str], Any]
) -> None:
    """A, B, and A again over one context: the same numbers, and the second A finds its own."""
    context = ContextRef("aba", DOCUMENTS)
    one, other = adapters("rank 2")[0], adapters("rank 16")[0]
    answers: list[Any] = [
        await engine.score(ScoreCall(ref, context, ITEMS))
        for ref in (one, other, one, stored("llama").ref, one)
    ]
    first, second, third, base, last = answers
    assert first.items == third.items == last.items
    assert abs(first.items[0][0][0] - second.items[0][0][0]) > 1e-2
    assert abs(first.items[0][0][0] - base.items[0][0][0]) > 1e-2
    assert third.spent.prompt_tokens < first.spent.prompt_tokens
    # The name is not what counts: other bytes under it are another model.
    renamed: Any = await engine.score(ScoreCall(replace(other, name=one.name), context, ITEMS))
    assert renamed.items == second.items


async def test_an_adapter_that_left_memory_comes_back_and_its_base_never_answers_for_it(
    stored: Callable[[str], Any], adapters: Callable[[str], Any]
) -> None:
    base = stored("llama")
    engine = Engine(base.settings.model_copy(update={"model_bytes": 1}))
    ref = adapters("rank 16")[0]
    first: Any = await engine.score(ScoreCall(ref, None, ITEMS))
    assert not isinstance(await engine.score(ScoreCall(stored("qwen3").ref, None, ITEMS)), Refused)
    held = (await engine.facts()).held
    assert held is not None
    assert ref.name not in held.models
    again: Any = await engine.score(ScoreCall(ref, None, ITEMS))
    assert again.items == first.items


def test_scales_of_patterns() -> None:
    config = LoraConfig(r=8, lora_alpha=16, rank_pattern={"q_proj": 4}, alpha_pattern={"v_proj": 4})
    assert scale_of(config, "model.layers.0.self_attn.k_proj") == 2.0
    assert scale_of(config, "model.layers.0.self_attn.q_proj") == 4.0
    assert scale_of(config, "model.layers.0.self_attn.v_proj") == 0.5
    stable = LoraConfig(r=16, lora_alpha=16, use_rslora=True)
    assert scale_of(stable, "model.layers.0.self_attn.k_proj") == 4.0
