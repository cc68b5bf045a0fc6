"""Who is concerned by whom: by datasets, by models they were trained into, and by when things were made."""

from typing import Any

import pytest

from ingrain import lineage_of
from ingrain.lineage_of import Concerned
from ingrain.v1 import (
    aliases_pb2,
    batches_pb2,
    datasets_pb2,
    evaluator_pb2,
    studies_pb2,
    trainer_pb2,
)

P = "projects/p"
NOW = Concerned(frozenset({f"{P}/datasets/d"}))


def model(id: str, base: str = "", at: int = 0, **training: Any) -> trainer_pb2.Model:
    made = trainer_pb2.Model(name=f"{P}/models/{id}", base_model=base and f"{P}/models/{base}")
    for dataset in training.pop("datasets", ()):
        made.training.datasets.add(dataset=f"{P}/datasets/{dataset}")
    for field, dataset in training.items():
        part = getattr(made.training, field)
        if field == "evaluation":
            part.datasets.append(f"{P}/datasets/{dataset}")
        else:
            part.dataset = f"{P}/datasets/{dataset}"
    if at:
        made.create_time.FromSeconds(at)
    return made


def ids(found: list[Any]) -> list[str]:
    return [one.name.rpartition("/")[2] for one in found]


def test_models_trained_from_a_trained_model_are_found_too() -> None:
    models = [
        model("grandchild", "child"),
        model("child", "trained"),
        model("trained", "base", datasets=["d"]),
        model("other", "base", datasets=["e"]),
        model("base"),
    ]
    assert ids(lineage_of.models_of(NOW, models)) == ["grandchild", "child", "trained"]


@pytest.mark.parametrize(
    ("field", "is_trained_on"), [("replay", True), ("distillation", True), ("evaluation", False)]
)
def test_what_a_training_learns_from_counts_and_what_measures_it_does_not(
    field: str, is_trained_on: bool
) -> None:
    assert bool(lineage_of.models_of(NOW, [model("m", **{field: "d"})])) == is_trained_on


def test_what_was_made_after_the_rows_had_gone_is_not_concerned() -> None:
    gone = Concerned(frozenset(), {f"{P}/datasets/d": 100.0})
    models = [model("before", at=99, datasets=["d"]), model("after", at=101, datasets=["d"])]
    assert ids(lineage_of.models_of(gone, models)) == ["before"]
    assert ids(lineage_of.models_of(NOW, models)) == ["before", "after"]


def test_a_chain_of_datasets_is_followed_by_provenance_and_by_label() -> None:
    source = datasets_pb2.Dataset(name=f"{P}/datasets/d")
    first = datasets_pb2.Dataset(name=f"{P}/datasets/first")
    first.provenance.source_dataset = source.name
    second = datasets_pb2.Dataset(name=f"{P}/datasets/second")
    second.provenance.source_dataset = first.name
    probes = datasets_pb2.Dataset(name=f"{P}/datasets/probes", labels={"source_dataset": source.name})
    loop = datasets_pb2.Dataset(name=f"{P}/datasets/loop", labels={"source_dataset": f"{P}/datasets/loop"})
    found = lineage_of.derived_from(source.name, [second, loop, probes, first, source])
    assert ids(found) == ["d", "probes", "first", "second"]


def test_evaluations_studies_batches_and_aliases() -> None:
    trained = [model("m", datasets=["d"])]
    asked, read, probed, free = (evaluator_pb2.Evaluation(name=f"{P}/evaluations/e{n}") for n in range(4))
    asked.subject.model = f"{P}/models/m"
    read.subject.context.dataset = probed.probes = f"{P}/datasets/d"
    free.subject.model, free.probes = f"{P}/models/base", f"{P}/datasets/e"
    assert ids(lineage_of.evaluations_of(NOW, trained, [asked, read, probed, free])) == ["e0", "e1", "e2"]

    studies = [studies_pb2.Study(name=f"{P}/studies/s{n}") for n in range(5)]
    studies[0].spec.dataset = f"{P}/datasets/d"
    studies[1].steps.add(resource=f"{P}/models/m")
    studies[2].spec.contenders.add(model=f"{P}/models/m")
    studies[3].steps.add(resource=f"{P}/datasets/d")
    assert ids(lineage_of.studies_of(NOW, [f"{P}/models/m"], studies)) == ["s0", "s1", "s2", "s3"]

    batches = [
        batches_pb2.Batch(name=f"{P}/batches/b{n}", model=name)
        for n, name in enumerate((f"{P}/models/m", "icl:d@base", "rag:e@m", "icl:e@base"))
    ]
    assert ids(lineage_of.batches_of(NOW, [f"{P}/models/m"], P, batches)) == ["b0", "b1", "b2"]

    aliases = [
        aliases_pb2.Alias(name=f"{P}/aliases/a{n}", target=target)
        for n, target in enumerate((f"{P}/models/m", "rag:d@base", "icl:e@base"))
    ]
    assert ids(lineage_of.aliases_of(NOW, trained, P, aliases)) == ["a0", "a1"]
