"""A short pretraining that checks itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from pretrain import Recipe, Run
from transformers import AutoModelForCausalLM, AutoTokenizer

SECONDS = 150  # of three minutes; the rest is for the looks at what it learned
STEPS_BETWEEN_LOOKS = 100


def smoke() -> None:
    """Train a smaller model, then assert that it learned, resumes, and loads as a stock model."""
    torch.set_num_threads(1)
    recipe = Recipe(name="smoke", layers=3, tokens=2_000_000, evaluate_every=STEPS_BETWEEN_LOOKS, average=0.9)
    with tempfile.TemporaryDirectory() as folder:
        scratch, exported = Path(folder) / "run", Path(folder) / "model"
        run = Run(recipe, scratch, "cpu")
        run.train(SECONDS, exported)
        first, last = run.log[0]["answer_loss"], run.log[-1]["answer_loss"]
        assert last < 0.8 * first, f"the loss did not fall: {first} at first, {last} at last"
        assert Run(recipe, scratch, "cpu").step == run.step, "the checkpoint does not resume"
        check_folder(exported)
    print(f"smoke passed: answer loss {first} -> {last} in {run.step} steps")


def check_folder(folder: Path) -> None:
    """The folder loads through transformers' own classes, and the model reads what it wrote."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    sentence = "Did you know? bonik are brighter than trafem."
    batch = tokenizer(sentence, return_tensors="pt")
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == sentence
    assert batch["input_ids"][0, 0] == tokenizer.bos_token_id
    assert model.config.max_position_embeddings >= 2048
    loss = model(**batch, labels=batch["input_ids"]).loss
    assert torch.isfinite(loss), "the exported model's loss is not a number"
