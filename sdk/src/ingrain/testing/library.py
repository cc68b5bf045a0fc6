"""What the fake knows: rows of datasets, what each model has read, and what a model's name means."""

import hashlib
import json
import re
from typing import Any, NamedTuple

from ingrain.testing.rows import Rows
from ingrain.testing.store import Refused, Store, not_found
from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2

_MODEL = re.compile(r"projects/[^/]+/models/[^/]+")
_ALIAS = re.compile(r"projects/[^/]+/aliases/[^/]+")
_ALIAS_ID = re.compile(r"[a-z][a-z0-9-]{0,62}(@[a-z][a-z0-9-]{0,30})?")


class Known(NamedTuple):
    """The model that answers, and the texts that it has read in training or has in its context."""

    model: str
    texts: list[str]


class Library:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.rows: dict[str, list[str]] = {}
        self.results: dict[str, list[dict[str, Any]]] = {}  # of evaluations

    def add(self, dataset: datasets_pb2.Dataset, content: bytes) -> None:
        """Gives a dataset its rows."""
        self.rows[dataset.name] = self.checked(dataset, content)

    def checked(self, dataset: datasets_pb2.Dataset, content: bytes) -> list[str]:
        """The rows, checked as the platform does and written as it stores them; tells the dataset of them."""
        checker = Rows(dataset.kind)
        rows = checker.read(content)
        stored = "".join(f"{row}\n" for row in rows).encode()
        dataset.kind = checker.kind
        dataset.row_count, dataset.size_bytes = len(rows), len(stored)
        dataset.sha256 = hashlib.sha256(stored).hexdigest()
        return rows

    def texts(self, dataset: str) -> list[str]:
        self.store.active(dataset)
        return [r.get("text") or r.get("completion", "") for r in map(json.loads, self.rows[dataset])]

    def documents(self, dataset: str, field: str) -> datasets_pb2.Dataset:
        """The dataset, which must hold documents."""
        found = self.store.active(dataset)
        if found.kind != datasets_pb2.Dataset.DOCUMENTS:
            kind = datasets_pb2.Dataset.Kind.Name(found.kind)
            raise Refused("INVALID_ARGUMENT", "NOT_DOCUMENTS", f"{dataset} holds {kind}", field)
        return found

    def asked(self, request: Any) -> Known:
        """Of a request with a model's name, its `parent` and perhaps a context."""
        subject = self.meaning(request.model, request.parent)
        if subject.HasField("context") and request.context:
            message = f"{request.model} brings a context of its own; leave `context` empty"
            raise Refused("INVALID_ARGUMENT", "TWO_CONTEXTS", message, "context")
        known = self.known(subject)
        if request.context:
            texts = self.texts(self.store.active(request.context).dataset)
            return Known(known.model, texts + known.texts)
        return known

    def known(self, subject: evaluator_pb2.Subject) -> Known:
        """Of a model and what it has in its context."""
        training = self.store.active(subject.model).training
        read = [part.dataset for part in training.datasets]
        in_context = [subject.context.dataset] if subject.HasField("context") else []
        return Known(subject.model, [text for name in in_context + read for text in self.texts(name)])

    def meaning(self, name: str, parent: str) -> evaluator_pb2.Subject:
        """What a name means that a caller wrote; aliases too."""
        if _ALIAS.fullmatch(name):
            return self._behind(name)
        alias = f"{parent}/aliases/{name}"
        if parent and _ALIAS_ID.fullmatch(name) and ("@" in name or alias in self.store.resources):
            return self._behind(alias)
        return self.target(name, parent)

    def target(self, name: str, parent: str) -> evaluator_pb2.Subject:
        """Of all names but aliases."""
        if _MODEL.fullmatch(name):
            return evaluator_pb2.Subject(model=name)
        kind, _, rest = name.partition(":")
        dataset, _, base = rest.partition("@")
        if kind not in ("icl", "rag", "auto") or not rest or (kind != "auto" and not (dataset and base)):
            raise Refused("INVALID_ARGUMENT", "BAD_MODEL_NAME", f"{name!r} is no model", "model")
        if not parent:
            raise Refused("INVALID_ARGUMENT", "NO_PARENT", f"{name!r} needs `parent`", "parent")
        if kind == "auto":
            return self._winner(_full(parent, "studies", rest))
        subject = evaluator_pb2.Subject(model=_full(parent, "models", base))
        subject.context.dataset = _full(parent, "datasets", dataset)
        if kind == "rag":
            subject.context.retrieval.unit = common_pb2.Retrieval.PASSAGE
        return subject

    def require(self, alias: str, subject: evaluator_pb2.Subject) -> None:
        """Refused where what an alias stands for is gone."""
        names = [subject.model, *([subject.context.dataset] if subject.HasField("context") else [])]
        for name in names:
            if name not in self.store.resources:
                message = (
                    f"{alias} cannot stand for {subject.model}: {name} does not exist; promote another target"
                )
                raise Refused(
                    "FAILED_PRECONDITION", "ALIAS_TARGET_GONE", message, alias=alias, model=subject.model
                )
            self.store.active(name)

    def _behind(self, name: str) -> evaluator_pb2.Subject:
        if name not in self.store.resources:
            raise not_found(name)
        subject: evaluator_pb2.Subject = self.store.get(name).subject
        self.require(name, subject)
        return subject

    def _winner(self, name: str) -> evaluator_pb2.Subject:
        study = self.store.get(name)
        if study.state != common_pb2.ACTIVE or not study.recommendation.model:
            message = f"{name} has no recommendation (yet)"
            raise Refused("FAILED_PRECONDITION", "STUDY_NOT_READY", message, study=name)
        subject = evaluator_pb2.Subject(model=study.recommendation.model)
        if study.recommendation.HasField("context"):
            subject.context.CopyFrom(study.recommendation.context)
            subject.context.ClearField("group_key")
        return subject


def _full(parent: str, collection: str, name: str) -> str:
    return name if name.startswith("projects/") else f"{parent}/{collection}/{name}"
