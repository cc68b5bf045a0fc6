"""What is uploaded: rows and their errors, headers, and request ids."""

import uuid
from functools import partial
from typing import Any

import pytest

from ingrain.v1 import (
    common_pb2,
    datasets_pb2,
    inference_pb2,
)
from tests.e2e.contract.asked import DOCUMENTS, TAKEN, Contract, broken, invalid

pytestmark = pytest.mark.timeout(600)
CHOICE = {"kind": "k", "prompt": "a", "choices": ["x", "y"], "answer": "x"}
Chat, ChatMessage, Input = inference_pb2.Chat, inference_pb2.ChatMessage, inference_pb2.Input


def test_rows(contract: Contract) -> None:
    rows: dict[str, tuple[list[Any] | bytes, Any]] = {
        "none": (b"\n", invalid("EMPTY_DATASET", "rows")),
        "no JSON": (b"{\n", invalid("NOT_JSON", "rows[0]")),
        "NaN": (b'{"text": "a", "x": NaN}\n', invalid("NOT_JSON", "rows[0]")),
        "too great": (b'{"text": "a", "x": 1e999}\n', invalid("NOT_JSON", "rows[0]")),
        "half a character": (b'{"text": "a"}\n{"text": "\\ud800"}\n', invalid("NOT_JSON", "rows[1]")),
        "no object": (b"[1]\n", invalid("NOT_AN_OBJECT", "rows[0]")),
        "no UTF-8": (b'{"text": "\xff"}\n', invalid("NOT_UTF8", "rows[0]")),
        "shape": ([{"a": 1}], invalid("UNKNOWN_SHAPE", "rows[0]")),
        "second": ([{"text": "a"}, {"txt": "b"}], invalid("MISSING_FIELD", "rows[1].text")),
        "blank": ([{"text": " "}], invalid("EMPTY_FIELD", "rows[0].text")),
        "number": ([{"text": 5}], invalid("WRONG_TYPE", "rows[0].text")),
        "twice": (
            [{"id": "a", "text": "a"}, {"id": "a", "text": "b"}],
            invalid("DUPLICATE_ID", "rows[1].id"),
        ),
        "id": ([{"id": 5, "text": "a"}], invalid("WRONG_TYPE", "rows[0].id")),
        "metadata": ([{"text": "a", "metadata": 5}], invalid("WRONG_TYPE", "rows[0].metadata")),
        "no kind": ([{**CHOICE, "kind": ""}], invalid("EMPTY_FIELD", "rows[0].kind")),
        "one choice": ([{**CHOICE, "choices": ["x"]}], invalid("WRONG_TYPE", "rows[0].choices")),
        "same choice": ([{**CHOICE, "choices": ["x", "x"]}], invalid("CHOICES_REPEAT", "rows[0].choices")),
        "no choice": ([{**CHOICE, "answer": "z"}], invalid("ANSWER_NOT_A_CHOICE", "rows[0].answer")),
        "answers": (
            [{"kind": "k", "question": "a", "answers": []}],
            invalid("WRONG_TYPE", "rows[0].answers"),
        ),
        "pair": ([{"prompt": "", "completion": "a"}], invalid("EMPTY_FIELD", "rows[0].prompt")),
        "turn": ([{"messages": [{"role": "a"}]}], invalid("MISSING_FIELD", "rows[0].messages[0].content")),
        "turns": ([{"messages": []}], invalid("WRONG_TYPE", "rows[0].messages")),
        "parameter": (
            [{"prompt": "a", "parameters": {"temperature": 9}}],
            invalid("BAD_PARAMETER", "rows[0].parameters.temperature"),
        ),
        "score": ([{"id": "a", "scores": [1]}], invalid("WRONG_TYPE", "rows[0].scores[0].sum_logprob")),
        "answered": ([{"finish_reason": "stop", "completion": "a"}], invalid("MISSING_FIELD", "rows[0].id")),
    }
    contract.check(
        {label: (partial(contract.upload, content), error) for label, (content, error) in rows.items()}
    )


def test_uploads(contract: Contract) -> None:
    def upload(**fields: Any) -> Any:
        return lambda: contract.upload(DOCUMENTS, **fields)

    request, header = datasets_pb2.UploadDatasetRequest, datasets_pb2.UploadDatasetHeader
    first, nowhere = request(header=header(parent=contract.parent)), request(header=header(parent="nonsense"))
    kind, title = datasets_pb2.Dataset(kind="PROBES"), datasets_pb2.Dataset(display_name="a" * 201)
    labels = datasets_pb2.Dataset(labels={f"l{n}": "" for n in range(33)})
    contract.check(
        {
            "taken": (upload(id=f"docs-{contract.tag}"), TAKEN),
            "id": (upload(id="Bad_ID"), broken("header.dataset_id")),
            "request": (upload(request_id="no-uuid"), broken("header.request_id")),
            "digest": (upload(sha256="0" * 64), invalid("SHA256_MISMATCH", "header.sha256")),
            "kind": (upload(dataset=kind), invalid("MISSING_FIELD", "rows[0].kind")),
            "title": (upload(dataset=title), broken("header.dataset.display_name")),
            "labels": (upload(dataset=labels), broken("header.dataset.labels")),
            "format": (upload(file_name="a.xyz"), invalid("UNKNOWN_FORMAT", "header.file_name")),
            "nothing": (lambda: contract.send(), invalid("NO_HEADER", "header")),
            "rows first": (lambda: contract.send(request(chunk=b"x")), invalid("NO_HEADER", "header")),
            "two headers": (lambda: contract.send(first, first), invalid("SECOND_HEADER", "header")),
            "empty": (lambda: contract.send(first, request()), broken("payload")),
            "parent": (lambda: contract.send(nowhere), broken("header.parent")),
        }
    )


def test_a_request_id_stands_for_one_request(contract: Contract) -> None:
    id, tag, reused = str(uuid.uuid4()), uuid.uuid4().hex[:8], invalid("REQUEST_ID_REUSED", "request_id")
    first = contract.upload(DOCUMENTS, f"once-{tag}", id)
    assert contract.upload(DOCUMENTS, f"once-{tag}", id) == first
    assert contract.refusal(lambda: contract.upload(DOCUMENTS, f"twice-{tag}", id)) == reused
    assert contract.refusal(lambda: contract.upload(DOCUMENTS[:1], f"once-{tag}", id)) == reused

    def held(context_id: str, **fields: Any) -> Any:
        wanted = inference_pb2.Context(model=contract.model.name, dataset=contract.documents.name, **fields)
        request = inference_pb2.CreateContextRequest(
            parent=contract.parent, context_id=context_id, context=wanted
        )
        request.request_id = id
        return contract.stubs.inference.CreateContext(request)

    # The same id may stand for a request of another kind.
    operation = held(f"held-{tag}")
    assert held(f"held-{tag}").name == operation.name
    few = common_pb2.RowSelection(key="kind", value="few")
    assert contract.refusal(lambda: held(f"held-{tag}", selection=few)) == reused
    assert contract.made(operation).row_count == len(DOCUMENTS)
    assert held(f"held-{tag}").done
