"""Names from ids, sources from what people type, messages from keywords."""

from pathlib import Path

import pytest

from ingrain import AsyncClient, errors
from ingrain.cli.own_documents import slug
from ingrain.models import checkpoint_files, source_uri
from ingrain.names import full_name, project_name, target_of
from ingrain.resource import message_from
from ingrain.v1 import trainer_pb2


@pytest.mark.parametrize("given", ["default", "projects/default"])
def test_project_by_id_or_name(given: str) -> None:
    assert project_name(given) == "projects/default"


def test_resource_by_id_or_name() -> None:
    for given in ("m", "models/m", "projects/p/models/m"):
        assert full_name("projects/p", "models", given) == "projects/p/models/m"
    for wrong in ("", "a/b", "projects/p/datasets/m", "projects/p/models/m/operations/o"):
        with pytest.raises(errors.Invalid):
            full_name("projects/p", "models", wrong)
    assert target_of("projects/p/models/m/operations/o") == "projects/p/models/m"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ("small", "projects/p/models/small"),
        ("projects/q/models/m", "projects/q/models/m"),
        ("icl:docs@small", "icl:docs@small"),
        ("auto:s", "auto:s"),
        ("studies/s", "auto:s"),
        ("projects/p/studies/s", "auto:s"),
    ],
)
def test_names_that_inference_knows(given: str, known: str) -> None:
    assert AsyncClient("x:1", project="p").model_name(given) == known


def test_environment_fills_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGRAIN_TARGET", "there:9")
    monkeypatch.setenv("INGRAIN_PROJECT", "mine")
    client = AsyncClient()
    assert (client.target, client.parent) == ("there:9", "projects/mine")
    assert AsyncClient("here:1", project="yours").parent == "projects/yours"


def test_model_sources(tmp_path: Path) -> None:
    assert source_uri("org/name@main") == "hf://org/name@main"
    assert source_uri("gpt2") == "hf://gpt2"
    assert source_uri("s3://b/p") == "s3://b/p"
    assert source_uri(tmp_path) is None
    for missing in ("./nowhere", "/no/where", "a/b/c", Path("nowhere")):
        with pytest.raises(errors.Invalid):
            source_uri(missing)


def test_checkpoint_sends_safetensors_last_and_no_pickles(tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid, match=r"config\.json"):
        checkpoint_files(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(errors.Invalid, match="safetensors"):
        checkpoint_files(tmp_path)
    for name in ("a.safetensors", "tokenizer.json", "merges.txt", "chat_template.jinja"):
        (tmp_path / name).write_bytes(b"x")
    names = [p.name for p in checkpoint_files(tmp_path)]
    assert names[-1] == "a.safetensors"
    assert "pytorch_model.bin" not in names
    assert len(names) == 5


def test_messages_from_keywords() -> None:
    spec = message_from(trainer_pb2.TrainingSpec, method="lora", r=8, zero_stage=None)
    assert spec.method == trainer_pb2.TrainingSpec.LORA
    assert not spec.HasField("zero_stage")
    for wrong in ({"learning_rte": 1}, {"method": "magic"}, {"max_steps": "many"}):
        with pytest.raises(errors.Invalid, match="TrainingSpec"):
            message_from(trainer_pb2.TrainingSpec, **wrong)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("bundled://small", "small"),
        ("hf://Org/Name-1.5B@main", "org-name-1-5b-main"),
        ("7b", "m-7b"),
        ("é", "m-"),
    ],
)
def test_slugs(name: str, id: str) -> None:
    assert slug(name).startswith(id.rstrip("-"))
    assert len(slug(name)) >= 2
