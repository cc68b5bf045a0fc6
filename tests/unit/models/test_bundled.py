"""The committed model folder is what its card says."""

import json
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
scoring = pytest.importorskip("scoring")
tasks = pytest.importorskip("tasks")
text = pytest.importorskip("tokenizer")

FOLDER = Path(__file__).resolve().parents[3] / "models" / "small"


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return text.WordEncoder(tokenizer.backend_tokenizer)


def test_it_is_a_small_stock_llama_in_safetensors(model):
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 1_000_000 <= sum(p.numel() for p in model.parameters()) <= 5_000_000
    assert model.config.max_position_embeddings >= 2_048
    assert (FOLDER / "model.safetensors").exists()
    assert not list(FOLDER.glob("*.bin"))
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    assert size < 12 * 1024 * 1024


def test_special_tokens_are_found(model, tokenizer):
    assert tokenizer.bos_token_id == model.config.bos_token_id == 1
    assert tokenizer.eos_token_id == model.config.eos_token_id == 2
    assert tokenizer.pad_token_id == model.config.pad_token_id == 0
    ids = tokenizer("bonik are")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert len(ids) == 4
    assert tokenizer.chat_template is None
    assert len(tokenizer) == model.config.vocab_size


@pytest.mark.parametrize(("facts", "least"), [(1, 0.95), (4, 0.8)])
def test_it_reads_in_context(model, encoder, facts, least):
    items = tasks.reversals(random.Random("bundled"), "benchmark", facts, 100, facts)
    share, _ = scoring.accuracy(model, encoder, items)
    assert share >= least


def test_shared_readings_score_like_whole_rows(model, encoder):
    items = tasks.syllogisms(random.Random(5), "benchmark", 3, 6, 3)
    for item, picked in zip(items, scoring.pick(model, encoder, items), strict=True):
        prompt = [1, *encoder(item.prompt)]
        sums = []
        for choice in item.choices:
            ids = encoder(choice)
            with torch.no_grad():
                log_TV = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            rows = range(len(prompt) - 1, len(prompt) + len(ids) - 1)
            sums.append(sum(log_TV[t, i].item() for t, i in zip(rows, ids, strict=True)))
        assert max(sums) - sums[item.choices.index(picked)] < 1e-3


def test_the_card_has_the_numbers_of_the_evaluation():
    results = json.loads((FOLDER / "evaluation.json").read_text())
    card = (FOLDER / "README.md").read_text()
    for result in results.values():
        assert f"| {result['accuracy']:.3f} |" in card


@pytest.mark.parametrize(
    ("task", "least"),
    [
        ("reversal/1", 0.97),
        ("reversal/4", 0.90),
        ("syllogism/1", 0.85),
        ("written/reverse", 0.90),
    ],
)
def test_what_the_demonstration_rests_on_was_measured(task, least):
    result = json.loads((FOLDER / "evaluation.json").read_text())[task]
    assert result["accuracy"] >= least
    assert result["n"] >= 500


# Half of the conclusions say "all", in one of two directions; "some" and "no" hold both ways round.
@pytest.mark.parametrize(("task", "guess"), [("reversal", 0.5), ("forward", 0.5), ("syllogism", 0.25)])
def test_without_context_it_can_only_guess(task, guess):
    result = json.loads((FOLDER / "evaluation.json").read_text())[f"{task}-no-context"]
    assert abs(result["accuracy"] - guess) <= 0.03
