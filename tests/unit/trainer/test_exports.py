"""What is exported says what was trained: fixed tokens by plain transformers and peft, in a process that knows nothing of this project."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from ingrain.v1 import trainer_pb2
from services.trainer import parity
from services.trainer.card import card, licence
from services.trainer.exchange import Job
from services.trainer.spec import resolve, with_data
from services.trainer.verifying import FLOAT32_TOLERANCE, HALF_TOLERANCE

LORA = trainer_pb2.TrainingSpec.LORA


pytestmark = pytest.mark.usefixtures("process_group")

ASK = """
import json, sys
for name in ("ingrain", "servicekit", "services"):
    sys.modules[name] = None  # whoever imports them fails
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

asked = json.loads(sys.stdin.read())
answers = []
for folder, base, texts in asked:
    model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
    if base:
        model = PeftModel.from_pretrained(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for text in texts:
        with torch.no_grad():
            rows = model.eval()(torch.tensor([text])).logits[0, :-1].log_softmax(-1)
        found.append([rows[place, id].item() for place, id in enumerate(text[1:])])
    answers.append({
        "logprobs": found, "chat": bool(tokenizer.chat_template), "count": sum(p.numel() for p in model.parameters()),
    })
json.dump(answers, sys.stdout)
"""


def ask(*asked):
    """What a process of its own computes from (folder, base or None, texts)."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([[str(folder), base and str(base), texts] for folder, base, texts in asked]),
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_form_says_what_was_trained_and_needs_nothing_of_ours(fit, build_checkpoint):
    base = build_checkpoint("llama", chat_template=True)
    one = fit(base)
    common = {"max_steps": 3, "learning_rate": 0.02, "bf16": False, "r": 0}
    forms = {
        "full": {},
        "adapter": {"method": LORA, "r": 4, "lora_dropout": 0.3},
        "dora": {"method": LORA, "r": 4, "use_dora": True},
        "merged": {"method": LORA, "r": 4, "merge_adapter": True},
    }
    ran = {name: one.run(one.job(n, **{**common, **spec})) for n, (name, spec) in enumerate(forms.items())}
    told = {name: result["parity"] for name, (result, _, _) in ran.items()}
    for one_told in told.values():
        assert [len(p) + 1 for p in one_told["logprobs"]] == [len(t) for t in one_told["tokens"]]
        assert one_told["dtype"] == "float32"
    beside = {"adapter": base, "dora": base}
    answers = dict(
        zip(
            ran,
            ask(*((folder, beside.get(name), told[name]["tokens"]) for name, (_, _, folder) in ran.items())),
            strict=True,
        )
    )
    for name, answer in answers.items():
        difference = parity.greatest_difference(told[name]["logprobs"], answer["logprobs"])
        assert difference < FLOAT32_TOLERANCE / 10, name
        assert answer["chat"]
    merged = [told[name]["max_merged_difference"] for name in ("adapter", "dora", "merged")]
    assert max(merged) < FLOAT32_TOLERANCE / 10
    assert "max_merged_difference" not in told["full"]
    names = {path.name for path in ran["merged"][2].iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert "adapter_config.json" not in names
    assert answers["merged"]["count"] == answers["full"]["count"]
    assert str(base.parent) not in (ran["merged"][2] / "config.json").read_text()
    # What was learned is not the base's: the comparison would see it.
    (untrained,) = ask((base, None, told["full"]["tokens"]))
    assert parity.greatest_difference(told["full"]["logprobs"], untrained["logprobs"]) > FLOAT32_TOLERANCE


def test_weights_stored_in_16_bits_agree_within_their_own_tolerance(fit, build_checkpoint, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole, half = build_checkpoint("llama"), tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(whole, dtype=torch.bfloat16).save_pretrained(half)
    AutoTokenizer.from_pretrained(whole).save_pretrained(half)
    one = fit(half)
    result, _, folder = one.run(one.job(1, max_steps=3, learning_rate=0.02, bf16=False))
    assert result["parity"]["dtype"] == "bfloat16"
    (answer,) = ask((folder, None, result["parity"]["tokens"]))
    difference = parity.greatest_difference(result["parity"]["logprobs"], answer["logprobs"])
    assert FLOAT32_TOLERANCE < difference < HALF_TOLERANCE


def test_fixed_tokens_are_the_first_texts_without_padding_and_bounded():
    rows = 40
    positions = np.tile(np.concatenate([np.arange(3), np.arange(1), np.arange(30), np.arange(30)]), (rows, 1))
    arrays = {
        "input_ids_RL": np.arange(rows * 64).reshape(rows, 64),
        "position_ids_RL": positions,
        "token_count_R": np.full(rows, 34),
    }
    texts = parity.fixed_tokens(arrays)
    assert texts[:2] == [[0, 1, 2], list(range(4, 34))], "a text of one token has no probability"
    assert len(texts) == parity.MOST_TEXTS
    long = {
        "input_ids_RL": np.zeros((3, 2048), int),
        "position_ids_RL": np.tile(np.arange(2048), (3, 1)),
        "token_count_R": np.full(3, 2048),
    }
    assert [len(text) for text in parity.fixed_tokens(long)] == [parity.MOST_TOKENS]


def test_what_is_no_number_is_never_near():
    assert np.isnan(parity.greatest_difference([[1.0, 2.0]], [[1.0, float("nan")]]))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# X\n", "apache-2.0"),
        ('---\nlanguage: en\nlicense: "mit"\n---\n', "mit"),
        ("# no front matter\nlicense: mit\n", ""),
        (None, ""),
    ],
)
def test_the_licence_is_the_one_of_the_base(tmp_path, text, found):
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    assert licence(tmp_path) == found


def test_the_card_tells_base_data_settings_losses_and_where_the_check_is(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    spec = trainer_pb2.TrainingSpec(max_length=64, method=LORA, r=4, merge_adapter=True)
    config = with_data(resolve(spec, trainer_pb2.Model(parameter_count=30_000, context_window=256)), 10)
    job = Job(
        prefix="p", model="projects/p/models/m", base_model="projects/p/models/base", base_key="k", base_sha256="b" * 64,
        config=dataclasses.asdict(config), packed_key="k", packed_sha256="s", checkpoint=None, submit_time=0.0, threads=1,
        datasets=[{"name": "projects/p/datasets/d", "use": "datasets", "weight": 2.0, "row_count": 7, "sha256": "d" * 64}],
    )  # fmt: skip
    result = {
        "loss": 0.5, "tokens": 1234, "compute_seconds": 9.0, "best_step": 20, "versions": {"torch": "2.13.0"},
        "measurements": [{"step": 10, "eval_loss": 1.25}, {"step": 20, "eval_loss": 1.125, "acc": 0.5}],
    }  # fmt: skip
    text = card(config, job, tmp_path, result, merged=True)
    for said in (
        "license: mit", "library_name: transformers", "base_model: projects/p/models/base", "b" * 64, "merged into its base",
        "weight 2, 7 rows", "d" * 64, "0.5000", "1234 tokens", "after step 20", "| 20 | 1.1250 | 0.5000 |", "| 10 | 1.2500 |  |",
        '"lora_alpha": 8.0', "torch 2.13.0", "summary.verification",
    ):  # fmt: skip
        assert said in text, said
    assert "library_name: peft" in card(config, job, tmp_path, result, merged=False)
