"""What the fake knows: rows of datasets, and what each model has read."""

import hashlib
import json

from ingrain.testing import words
from ingrain.testing.store import Refused, Store
from ingrain.v1 import datasets_pb2

# A row has one of these, the first of which is missed where it has none.
_ROW_KEYS = {
    datasets_pb2.Dataset.DOCUMENTS: ("text",),
    datasets_pb2.Dataset.MESSAGES: ("messages",),
    datasets_pb2.Dataset.ANSWERS: ("finish_reason", "scores", "error"),
    datasets_pb2.Dataset.PROMPT_COMPLETION: ("completion",),
    datasets_pb2.Dataset.PROBES: ("kind",),
    datasets_pb2.Dataset.PROMPTS: ("prompt", "messages"),
}


class Library:
    """Rows of datasets, and what each model has read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rows: dict[str, list[str]] = {}

    def add(self, dataset: datasets_pb2.Dataset, content: bytes) -> None:
        """Checks the rows as the platform does: which row, which field."""
        rows = [line for line in content.decode().split("\n") if line]
        if not rows:
            raise Refused("INVALID_ARGUMENT", "DATASET_EMPTY", "the dataset has no rows")
        for number, row in enumerate(map(json.loads, rows)):
            kinds = [dataset.kind] if dataset.kind else list(_ROW_KEYS)
            kind = next((k for k in kinds if row.keys() & _ROW_KEYS[k]), None)
            if kind is None:
                field = f"rows[{number}].{_ROW_KEYS[dataset.kind or datasets_pb2.Dataset.DOCUMENTS][0]}"
                raise Refused("INVALID_ARGUMENT", "ROW_INVALID", f"{field} is missing", field)
            dataset.kind = kind
            if row.get("choices") and not set(words.right_answers(row)) <= set(row["choices"]):
                field = f"rows[{number}].answer"
                raise Refused("INVALID_ARGUMENT", "ANSWER_NOT_A_CHOICE", f"{field} is no choice", field)
        dataset.row_count, dataset.size_bytes = len(rows), len(content)
        dataset.sha256 = hashlib.sha256(content).hexdigest()
        self.rows[dataset.name] = rows

    def texts(self, dataset: str) -> list[str]:
        self.store.active(dataset)
        return [r.get("text") or r.get("completion", "") for r in map(json.loads, self.rows[dataset])]

    def known(self, model: str, parent: str, context: str = "") -> list[str]:
        """Texts that the model has read in training or has in its context; virtual names are resolved."""
        if context:
            return self.texts(self.store.active(context).dataset) + self.known(model, parent)
        if model.startswith("icl:"):
            dataset, _, base = model[4:].partition("@")
            return self.texts(f"{parent}/datasets/{dataset}") + self.known(f"{parent}/models/{base}", parent)
        alias = model if "/aliases/" in model else f"{parent}/aliases/{model}"
        if alias in self.store.resources:
            return self.known(self.store.get(alias).target, parent)
        if model.startswith("auto:"):
            study = self.store.active(f"{parent}/studies/{model[5:]}")
            return self.known(study.recommendation.model, parent)
        training = self.store.active(model).training
        return [text for part in training.datasets for text in self.texts(part.dataset)]
