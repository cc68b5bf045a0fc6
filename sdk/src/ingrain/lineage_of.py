"""What hangs on datasets: values, and who is concerned by whom. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from ingrain.v1 import (
    aliases_pb2,
    batches_pb2,
    datasets_pb2,
    evaluator_pb2,
    inference_pb2,
    studies_pb2,
    trainer_pb2,
)

PROBES_OF = "source_dataset"  # the label by which written probes say what they are about
_VIRTUAL = re.compile(r"(icl|rag):([^@]+)@(.+)")


@dataclass(frozen=True)
class Rows:
    """Rows of one dataset. `depth`: derivations between; 0 for the rows that were asked about."""

    dataset: str
    depth: int
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Lineage:
    """What came of rows. `rows`: the rows themselves first, then derived ones; everything else newest first.

    `contexts` read one of the datasets, whichever rows of it; `models` were trained on one of them or, at any remove,
    from a model that was; the others asked, measured or compared any of these. `copies` are names of datasets that are
    the same byte for byte: what was made of the one may have been taken for the other.
    """

    dataset: str
    row_ids: tuple[str, ...]
    rows: tuple[Rows, ...]
    contexts: tuple[inference_pb2.Context, ...] = ()
    models: tuple[trainer_pb2.Model, ...] = ()
    evaluations: tuple[evaluator_pb2.Evaluation, ...] = ()
    studies: tuple[studies_pb2.Study, ...] = ()
    batches: tuple[batches_pb2.Batch, ...] = ()
    aliases: tuple[aliases_pb2.Alias, ...] = ()
    copies: tuple[str, ...] = ()

    @property
    def row_count(self) -> int:
        """Derived rows; those that were asked about are not among them."""
        return sum(len(found.ids) for found in self.rows if found.depth)


@dataclass(frozen=True)
class Withdrawal:
    """What was done: rows by dataset, names of what was deleted. What remains: models that have to be trained again, studies
    whose reports say what the rows said, and a sentence for each thing that somebody has to look after."""

    lineage: Lineage
    withdrawn: Mapping[str, int]
    deleted: tuple[str, ...]
    retrain: tuple[trainer_pb2.Model, ...]
    reports: tuple[str, ...]
    remaining: tuple[str, ...]


@dataclass(frozen=True)
class Concerned:
    """Datasets that hold rows in question, and those that held some: until when, in seconds since the epoch."""

    now: frozenset[str]
    until: Mapping[str, float] = field(default_factory=dict)

    def by(self, dataset: str, made: Message) -> bool:
        """Whether something that was made of the dataset then is concerned."""
        if dataset in self.now:
            return True
        created = made.create_time.ToNanoseconds() / 1e9 if made.HasField("create_time") else 0.0  # type: ignore[attr-defined]
        return created < self.until.get(dataset, 0.0)


def derived_from(source: str, datasets: Iterable[datasets_pb2.Dataset]) -> list[datasets_pb2.Dataset]:
    """The dataset and what was derived from it, at any remove, as far as it is there."""
    known = list(datasets)
    reached, found = {source}, [dataset for dataset in known if dataset.name == source]
    while True:
        more = [d for d in known if d.name not in reached and source_of(d) in reached]
        if not more:
            return found
        found += more
        reached.update(dataset.name for dataset in more)


def copies_of(name: str, datasets: Iterable[datasets_pb2.Dataset]) -> list[str]:
    known = {dataset.name: dataset.sha256 for dataset in datasets}
    return [
        other for other, sha256 in known.items() if other != name and sha256 and sha256 == known.get(name)
    ]


def source_of(dataset: datasets_pb2.Dataset) -> str:
    return dataset.provenance.source_dataset or dataset.labels.get(PROBES_OF, "")


def models_of(concerned: Concerned, models: Iterable[trainer_pb2.Model]) -> list[trainer_pb2.Model]:
    """Trained on a concerned dataset, or from a model that was."""
    known = list(models)
    reached = {
        model.name for model in known if any(concerned.by(name, model) for name in trained_on(model.training))
    }
    while more := {m.name for m in known if m.base_model in reached} - reached:
        reached |= more
    return [model for model in known if model.name in reached]


def trained_on(training: trainer_pb2.TrainingSpec) -> list[str]:
    """Datasets out of which the weights have come; those that only measured them are not among them."""
    names = [part.dataset for part in training.datasets]
    return [name for name in (*names, training.replay.dataset, training.distillation.dataset) if name]


def evaluations_of(
    concerned: Concerned, models: Iterable[trainer_pb2.Model], found: Iterable[evaluator_pb2.Evaluation]
) -> list[evaluator_pb2.Evaluation]:
    names = {model.name for model in models}
    return [
        one
        for one in found
        if one.subject.model in names
        or concerned.by(one.probes, one)
        or concerned.by(one.subject.context.dataset, one)
    ]


def studies_of(
    concerned: Concerned, named: Iterable[str], found: Iterable[studies_pb2.Study]
) -> list[studies_pb2.Study]:
    """`named`: models and evaluations that are concerned."""
    names = set(named)

    def is_concerned(study: studies_pb2.Study) -> bool:
        spec = study.spec
        asked = {spec.model, *(contender.model for contender in spec.contenders)}
        made = [step.resource for step in study.steps]
        read = [spec.dataset, spec.probes, *made]
        return bool(names & {*asked, *made}) or any(concerned.by(dataset, study) for dataset in read)

    return [study for study in found if is_concerned(study)]


def batches_of(
    concerned: Concerned, named: Iterable[str], parent: str, found: Iterable[batches_pb2.Batch]
) -> list[batches_pb2.Batch]:
    """`named`: models and contexts that are concerned."""
    names = set(named)

    def is_concerned(batch: batches_pb2.Batch) -> bool:
        model, dataset = meant_by(batch.model, parent)
        return bool(names & {model, batch.context}) or any(
            concerned.by(d, batch) for d in (batch.dataset, dataset)
        )

    return [batch for batch in found if is_concerned(batch)]


def aliases_of(
    concerned: Concerned, models: Iterable[trainer_pb2.Model], parent: str, found: Iterable[aliases_pb2.Alias]
) -> list[aliases_pb2.Alias]:
    """That stand for a concerned model, or read documents that are there no more as they were."""
    names = {model.name for model in models}
    meant: Callable[[aliases_pb2.Alias], tuple[str, str]] = lambda alias: meant_by(alias.target, parent)  # noqa: E731
    return [alias for alias in found if meant(alias)[0] in names or meant(alias)[1] in concerned.now]


def meant_by(model: str, parent: str) -> tuple[str, str]:
    """Names of the model and of the dataset that it reads, which is empty where it reads none."""
    virtual = _VIRTUAL.fullmatch(model)
    if virtual is None:
        return model, ""
    _, dataset, base = virtual.groups()
    return f"{parent}/models/{base}", f"{parent}/datasets/{dataset}"
