from types import SimpleNamespace

import pytest

from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, trainer_pb2
from servicekit.errors import Invalid, WrongState
from services.studies import checks, counting, preflight

MODEL = trainer_pb2.Model(name="projects/p/models/m", context_window=100, domain="invented-worlds")


def rows(*facts: tuple[str, str, str]) -> list[dict]:
    return [{"text": text, "metadata": {"world": world, "fact": fact}} for world, fact, text in facts]


def test_a_context_has_the_first_document_of_each_fact_of_its_group() -> None:
    documents = rows(("a", "1", "x"), ("b", "1", "y"), ("a", "1", "x again"), ("a", "2", "z"))
    assert counting.context_texts(documents, "world", "fact") == {"a": ["x", "z"], "b": ["y"]}
    assert counting.context_texts(documents, "", "") == {"": ["x", "y", "x again", "z"]}


def test_long_contexts_are_counted_in_pieces_that_lose_nothing() -> None:
    texts = [f"{i} " + "x" * 300_000 for i in range(5)]
    pieces = counting.split_text(texts)
    assert len(pieces) == 3
    assert "\n".join(pieces) == "\n".join(texts)


def test_a_row_without_the_group_key_is_named() -> None:
    documents = [*rows(("a", "1", "x")), {"text": "y"}]
    with pytest.raises(Invalid, match=r"rows\[1\] of projects/p/datasets/d has no metadata.world"):
        checks.check_groups(documents, "world", "projects/p/datasets/d")


def test_a_context_that_is_too_long_says_what_to_do() -> None:
    checks.check_window(MODEL, {"a": 80}, ["a"], [17])
    with pytest.raises(Invalid) as caught:
        checks.check_window(MODEL, {"a": 80}, ["a"], [18])
    assert caught.value.reason == "CONTEXT_TOO_LONG"
    assert caught.value.metadata == {"token_count": "101", "context_window": "100"}
    assert "group_key" in caught.value.message


def test_a_probe_without_documents_is_named() -> None:
    with pytest.raises(Invalid, match=r"rows\[1\]"):
        checks.check_window(MODEL, {"a": 10}, ["a", "b"], [5, 5])


def test_a_narrow_model_refuses_text_that_falls_apart() -> None:
    checks.check_readable(MODEL, 260, 100)
    with pytest.raises(WrongState, match="--model <folder or hub id>") as caught:
        checks.check_readable(MODEL, 261, 100)
    assert caught.value.reason == "MODEL_CANNOT_READ_DOCUMENTS"


def test_the_wrong_kind_of_dataset() -> None:
    documents = datasets_pb2.Dataset(
        name="d", state=common_pb2.ACTIVE, kind=datasets_pb2.Dataset.DOCUMENTS, row_count=1
    )
    with pytest.raises(Invalid, match="DOCUMENTS, not PROBES"):
        checks.check_kind(documents, datasets_pb2.Dataset.PROBES, "study.spec.probes")


def test_what_is_not_active_cannot_be_used() -> None:
    with pytest.raises(WrongState, match="CREATING"):
        checks.check_active(trainer_pb2.Model(name="m", state=common_pb2.CREATING), "study.spec.model")


def client_of(*resources: datasets_pb2.Dataset | trainer_pb2.Model) -> SimpleNamespace:
    async def get(name: str) -> datasets_pb2.Dataset | trainer_pb2.Model:
        return next(resource for resource in resources if resource.name == name)

    return SimpleNamespace(datasets=SimpleNamespace(get=get), models=SimpleNamespace(get=get))


async def test_inputs_that_changed_under_a_running_study_are_refused() -> None:
    documents = datasets_pb2.Dataset(name="d", sha256="1" * 64)
    probes, model = (
        datasets_pb2.Dataset(name="q", sha256="2" * 64),
        trainer_pb2.Model(name="m", sha256="3" * 64),
    )
    inputs = preflight.Inputs({"documents": documents, "probes": probes}, {"model": model}, [], {})
    asked = evaluator_pb2.Evaluation(probes="q", probes_sha256="2" * 64)
    await preflight.check_unchanged(client_of(documents, probes, model), inputs, [asked])

    later = datasets_pb2.Dataset(name="d", sha256="9" * 64)
    with pytest.raises(
        WrongState, match=r"d changed while the study ran .sha256 111111111111, now 999999999999"
    ) as caught:
        await preflight.check_unchanged(client_of(later, probes, model), inputs, [asked])
    assert caught.value.reason == "INPUT_CHANGED"

    of_others = evaluator_pb2.Evaluation(probes="q", probes_sha256="8" * 64)
    with pytest.raises(WrongState, match="q changed"):
        await preflight.check_unchanged(client_of(documents, probes, model), inputs, [asked, of_others])
