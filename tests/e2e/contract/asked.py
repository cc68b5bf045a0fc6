"""What the contract's tests ask with: a platform with documents, probes and a model on it, and refusals to expect."""

import json
import uuid
from collections.abc import Callable
from typing import Any

from ingrain import Client, errors
from ingrain.v1 import datasets_pb2, trainer_pb2

PAIRS = (("bralo", "cemid"), ("dovun", "fargel"), ("gilop", "hastin"))
DOCUMENTS = [{"id": f"d{n}", "text": f"{a} are warmer than {b}."} for n, (a, b) in enumerate(PAIRS)]
PROBES = [
    {
        "id": f"p{n}",
        "kind": "reversal",
        "prompt": f"{b} are",
        "choices": [f"colder than {a}.", f"warmer than {a}."],
        "answer": f"colder than {a}.",
    }
    for n, (a, b) in enumerate(PAIRS)
]
Refusal = tuple[str, str, list[str]]


class Contract:
    """A platform's client, with documents, probes and a model on it; `tag` keeps names apart from other tests'."""

    def __init__(self, client: Client) -> None:
        self.client, self.stubs, self.parent = client, client.stubs, client.parent
        self.tag = uuid.uuid4().hex[:8]
        self.documents = self.upload(DOCUMENTS, f"docs-{self.tag}")
        self.probes = self.upload(PROBES, f"probes-{self.tag}")
        request = trainer_pb2.ImportModelRequest(
            parent=self.parent, model_id=f"small-{self.tag}", source_uri="bundled://small"
        )
        self.model = self.made(self.stubs.trainer.ImportModel(request))

    def name(self, collection: str, id: str = "none") -> str:
        return f"{self.parent}/{collection}/{id}"

    def upload(
        self, rows: list[dict[str, Any]] | bytes, id: str = "", request_id: str = "", **header: Any
    ) -> datasets_pb2.Dataset:
        content = (
            rows if isinstance(rows, bytes) else "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        )
        first = datasets_pb2.UploadDatasetHeader(
            parent=self.parent, dataset_id=id, request_id=request_id, **header
        )
        return self.send(
            datasets_pb2.UploadDatasetRequest(header=first), datasets_pb2.UploadDatasetRequest(chunk=content)
        )

    def send(self, *requests: datasets_pb2.UploadDatasetRequest) -> datasets_pb2.Dataset:
        return self.stubs.datasets.UploadDataset(iter(requests))

    def made(self, operation: Any) -> Any:
        """What an operation has made."""
        return self.client.operations.wait(operation, timeout_s=300)

    def refusal(self, call: Callable[[], Any]) -> Refusal:
        """Code, reason and fields of the error that a call or the operation that it starts ends in."""
        try:
            answer = call()
            if hasattr(answer, "__next__"):
                list(answer)
        except errors.IngrainError as error:
            return error.code.name, error.reason, [violation.field for violation in error.field_violations]
        return "OK", "", []

    def check(self, expected: dict[str, tuple[Callable[[], Any], Refusal]]) -> None:
        """That every call is refused as expected; tells all that are not."""
        wrong = {}
        for label, (call, refusal) in expected.items():
            if (found := self.refusal(call)) != refusal:
                wrong[label] = {"expected": refusal, "found": found}
        assert not wrong, "\n".join(f"{label}: {one}" for label, one in wrong.items())


def invalid(reason: str, *fields: str) -> Refusal:
    return "INVALID_ARGUMENT", reason, list(fields)


def broken(*fields: str) -> Refusal:
    """By a rule of the protos."""
    return invalid("INVALID_REQUEST", *fields)


GONE: Refusal = ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])
TAKEN: Refusal = ("ALREADY_EXISTS", "NAME_TAKEN", [])


def too_early(reason: str) -> Refusal:
    return "FAILED_PRECONDITION", reason, []
