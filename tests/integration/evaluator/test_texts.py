"""Texts by themselves: bits per byte, in windows where they are longer than the model reads."""

import math
from pathlib import Path
from typing import Any

import pytest

from ingrain import errors
from ingrain.v1 import trainer_pb2

PROJECT = "projects/demo"
MODEL = Path(__file__).parents[3] / "models" / "small"


def loglikelihood(text: str, window: int = 10**9) -> float:
    """After <bos>, by plain transformers; pieces of at most `window` tokens each after a <bos> of its own."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) <= window
    whole = torch.tensor([[tokenizer.bos_token_id, *ids]])
    with torch.inference_mode():
        logprobs = model(whole[:, :-1]).logits[0].log_softmax(-1)
    return float(logprobs.gather(1, whole[0, 1:, None]).sum())


async def test_texts_are_scored_as_transformers_scores_them(world: Any, documents: Any) -> None:
    texts = [document["text"] for document in documents[:6]]
    rows = [{"id": str(i), "text": text, "metadata": {}} for i, text in enumerate(texts)]
    rows[5]["metadata"] = {"kind": "other"}
    world.datasets.add("texts", rows)
    made = await world.evaluated("mine", "texts")
    results = await world.results("mine")
    for row, text in zip(results.values(), texts, strict=True):
        assert row["loglikelihood"] == pytest.approx(loglikelihood(text), abs=1e-3)
        assert (row["byte_count"], row["word_count"], row["window_count"]) == (
            len(text.encode()),
            len(text.split()),
            1,
        )
        assert row["value"] == pytest.approx(-row["loglikelihood"] / len(text.encode()) / math.log(2))
        assert "answer" not in row
    text_kind, other = made.kinds
    assert (text_kind.kind, text_kind.metric, text_kind.n, other.kind) == (
        "text",
        "bits_per_byte",
        5,
        "other",
    )
    assert not text_kind.HasField("chance")
    total = sum(row["loglikelihood"] for row in list(results.values())[:5])
    byte_count, words = (sum(len(t) for t in texts[:5]), sum(len(t.split()) for t in texts[:5]))
    assert text_kind.value == pytest.approx(-total / byte_count / math.log(2))
    assert dict(text_kind.metrics) == pytest.approx(
        {
            "bits_per_byte": text_kind.value,
            "byte_perplexity": math.exp(-total / byte_count),
            "word_perplexity": math.exp(-total / words),
        }
    )
    assert text_kind.ci95_low < text_kind.value < text_kind.ci95_high
    assert text_kind.stderr > 0


async def test_less_is_better_and_a_comparison_says_what_differs(
    world: Any, documents: Any, tmp_path: Path
) -> None:
    """Shuffled words are harder to foresee than sentences of the kind that the model was made for."""
    rows = [{"id": str(i), "text": d["text"]} for i, d in enumerate(documents[:12])]
    world.datasets.add("texts", rows)
    world.datasets.add("reversed", [{**r, "text": " ".join(r["text"].split()[::-1])} for r in rows])
    plain = await world.evaluated("plain", "texts")
    worse = await world.evaluated("worse", "reversed")
    assert plain.kinds[0].value < worse.kinds[0].value
    found = await world.user.evaluations.compare("worse", ["plain"])
    assert [(d.kind, d.metric, d.n) for d in found] == [
        ("text", "bits_per_byte", 12),
        ("all", "bits_per_byte", 12),
    ]
    assert found[0].value < found[0].ci95_high < 0
    assert found[0].value == pytest.approx(plain.kinds[0].value - worse.kinds[0].value, rel=0.02)
    async with world.whole() as user:
        with pytest.raises(errors.Invalid) as caught:
            await user.evaluations.export_lm_eval("plain", tmp_path)
    assert caught.value.reason == "TEXTS_ARE_NO_TASK"


async def test_a_text_longer_than_the_window_is_scored_in_disjoint_windows(
    world: Any, documents: Any
) -> None:
    narrow = world.behind.models[f"{PROJECT}/models/narrow"] = trainer_pb2.Model()
    narrow.CopyFrom(world.behind.models[f"{PROJECT}/models/small"])
    narrow.name, narrow.context_window = f"{PROJECT}/models/narrow", 33
    sentences = [document["text"] for document in documents[:8]]
    text = " ".join(sentences)
    world.datasets.add("long", [{"id": "1", "text": text}, {"id": "2", "text": sentences[0]}])
    operation = await world.user.evaluations.create("narrow", "long", "mine")
    made = await operation.result(timeout_s=60)
    rows = await world.results("mine")
    assert rows["1"]["window_count"] > 2
    assert rows["1"]["byte_count"] == len(text.encode())
    assert rows["2"]["window_count"] == 1
    # Each window begins anew, so that less is known of what comes first in it.
    assert rows["1"]["loglikelihood"] < loglikelihood(text)
    assert made.kinds[0].n == 2

    world.datasets.add("stretch", [{"id": "1", "text": "fine."}, {"id": "2", "text": "x" * 500}])
    operation = await world.user.evaluations.create("narrow", "stretch")
    with pytest.raises(errors.OperationFailed) as caught:
        await operation.result(timeout_s=60)
    assert caught.value.reason == "TEXT_TOO_LONG"
    assert [violation.field for violation in caught.value.field_violations] == ["rows[1].text"]


async def test_texts_have_no_context_and_no_judge(world: Any) -> None:
    operation = await world.user.evaluations.create("small", "documents", judge="small")
    with pytest.raises(errors.OperationFailed) as caught:
        await operation.result(timeout_s=60)
    assert caught.value.reason == "NOTHING_TO_JUDGE"
    with pytest.raises(errors.Invalid) as refused:
        await world.user.evaluations.create("small", "documents", dataset="documents")
    assert refused.value.reason == "TEXT_IN_CONTEXT"
