import json
import pickle
import shutil

import pytest

from servicekit.errors import Invalid
from services.trainer.inspection import inspect_folder

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "gemma": "GemmaForCausalLM",
    "phi": "PhiForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}


@pytest.fixture
def folder(build_checkpoint, tmp_path):
    """A copy that a test may break."""

    def copy(architecture="llama", **options):
        target = tmp_path / "model"
        shutil.copytree(build_checkpoint(architecture, **options), target)
        return target

    return copy


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("options", [{"tied": True}, {"tied": False, "sharded": True, "chat_template": True}])
def test_tells_what_a_checkpoint_is(build_checkpoint, architecture, options):
    from transformers import AutoModelForCausalLM

    path = build_checkpoint(architecture, **options)
    found = inspect_folder(path)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert found.architecture == ARCHITECTURES[architecture]
    assert found.parameter_count == sum(p.numel() for p in model.parameters())
    assert (found.context_window, found.layer_count, found.hidden_size) == (256, 2, 32)
    assert found.chat_template is options.get("chat_template", False)
    assert found.vocabulary_size == 400
    assert found.domain == ""
    assert (path / "model.safetensors.index.json").exists() is options.get("sharded", False)


def test_a_domain_is_told_beside_the_weights(folder):
    path = folder()
    (path / "ingrain.json").write_text('{"domain": "invented-worlds"}')
    assert inspect_folder(path).domain == "invented-worlds"


class Canary:
    """A pickle that writes a file where it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "optimizer.pt", "x.pkl", "model.safetensors", "tokenizer.json"]
)
def test_a_pickle_is_refused_whatever_its_name_and_never_loaded(folder, tmp_path, name, protocol):
    path, canary = folder(), tmp_path / "canary"
    (path / name).write_bytes(pickle.dumps(Canary(canary), protocol))
    with pytest.raises(Invalid) as caught:
        inspect_folder(path)
    assert caught.value.reason in ("NOT_SAFETENSORS", "NO_TOKENIZER")
    assert caught.value.field == name
    assert not canary.exists()


def test_a_torch_zip_in_disguise_is_refused(folder):
    import torch

    path = folder()
    torch.save({"w": torch.zeros(2)}, path / "model.safetensors")
    with pytest.raises(Invalid, match=r"model\.safetensors is or may be a pickle"):
        inspect_folder(path)


def break_config(path, **changes):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda path: (path / "config.json").unlink(), "NO_CONFIG"),
        (lambda path: (path / "config.json").write_text("{"), "NO_CONFIG"),
        (lambda path: break_config(path, architectures=["BertForSequenceClassification"]), "NO_CAUSAL_LM"),
        (lambda path: break_config(path, architectures=None), "NO_CAUSAL_LM"),
        (lambda path: break_config(path, auto_map={"AutoModel": "x.py"}), "CUSTOM_CODE"),
        (lambda path: (path / "tokenizer.json").unlink(), "NO_TOKENIZER"),
        (lambda path: sorted(path.glob("*.safetensors"))[1].unlink(), "MISSING_SHARD"),
        (lambda path: (path / "model.safetensors.index.json").unlink(), "MISSING_SHARD"),
        (lambda path: [p.unlink() for p in path.glob("*.safetensors*")], "NOT_SAFETENSORS"),
        (lambda path: truncate(sorted(path.glob("*.safetensors"))[0]), "NOT_SAFETENSORS"),
    ],
)
def test_what_is_wrong_is_named(folder, harm, reason):
    path = folder("llama", sharded=True)
    harm(path)
    with pytest.raises(Invalid) as caught:
        inspect_folder(path)
    assert caught.value.reason == reason
    assert caught.value.field


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])
