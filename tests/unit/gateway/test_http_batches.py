"""Lines of files <-> rows, and a batch's states: pure functions."""

import json
from typing import Any

import pytest
from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from google.rpc import code_pb2, status_pb2

from ingrain.v1 import batches_pb2, common_pb2
from servicekit.errors import Invalid
from services.gateway.http.batch_rows import CHAT, COMPLETIONS, Shared, answer_line, request_line, row_of
from services.gateway.http.batches import batch_of

PARENT = "projects/p"


def line(url: str = CHAT, **body: Any) -> bytes:
    asked = {
        "model": "m",
        **({"messages": [{"role": "user", "content": "a"}]} if url == CHAT else {"prompt": "a"}),
    }
    return json.dumps({"custom_id": "c", "method": "POST", "url": url, "body": asked | body}).encode()


def test_a_conversation_becomes_a_row() -> None:
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    raw = line(
        max_tokens=3, temperature=0.5, top_p=0.9, seed=4, stop="x", logprobs=True, response_format=wanted
    )
    shared, row = row_of(1, raw, PARENT, None)
    assert shared == Shared(CHAT, "m", "")
    parameters = row.pop("parameters")
    assert row == {"id": "c", "messages": [{"role": "user", "content": "a"}]}
    assert json.loads(parameters.pop("json_schema")) == schema
    assert parameters == {
        "max_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 4,
        "stop": ["x"],
        "logprobs": True,
        "top_logprobs": 0,
    }


def test_what_is_not_said_is_openais_and_the_seed_the_batchs() -> None:
    _, row = row_of(1, line(COMPLETIONS), PARENT, None)
    assert row == {"id": "c", "prompt": "a", "parameters": {"max_tokens": 16, "temperature": 1.0}}


@pytest.mark.parametrize("url", [CHAT, COMPLETIONS])
def test_a_row_is_shown_as_the_request_that_it_was(url: str) -> None:
    more = {"logprobs": 2} if url == COMPLETIONS else {"logprobs": True, "top_logprobs": 2}
    raw = line(url, max_tokens=3, temperature=0.5, context="projects/p/contexts/c", **more)
    shared, row = row_of(1, raw, PARENT, None)
    assert request_line(row, shared) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"[]", "lines[6]"),
        (b'{"custom_id": 4}', "lines[6].custom_id"),
        (line(temperature="hot"), "lines[6].body.temperature"),
        (line(messages=[{"role": "user", "content": 4}]), "lines[6].body.messages[0].content"),
        (line(n=2), "lines[6].body.n"),
        (line(model="other"), "lines[6].model"),
        (line(context="projects/p/contexts/c"), "lines[6].context"),
    ],
)
def test_errors_name_the_line(raw: bytes, field: str) -> None:
    with pytest.raises(Invalid, match=r"^line 7: ") as caught:
        row_of(7, raw, PARENT, Shared(CHAT, "m", ""))
    assert caught.value.field.startswith(field)


def test_answers_and_errors() -> None:
    shared = Shared(CHAT, "m", "")
    tokens = [{"id": 1, "token": "b", "logprob": None, "top": [{"id": 2, "token": "c", "logprob": -1.0}]}]
    row = {"id": "c", "completion": "b", "finish_reason": "length", "token_count": 1, "prompt_token_count": 5}
    plain = answer_line(row, shared, "batch", 7)
    body = plain["response"]["body"]
    assert (plain["custom_id"], plain["error"], body["model"], body["created"]) == ("c", None, "m", 7)
    assert body["choices"][0]["message"]["content"] == "b"
    assert (body["choices"][0]["finish_reason"], body["choices"][0]["logprobs"]) == ("length", None)
    assert (body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]) == (5, 6)
    (token,) = answer_line(row | {"tokens": tokens}, shared, "batch", 7)["response"]["body"]["choices"][0][
        "logprobs"
    ]["content"]
    assert (token["token"], token["logprob"]) == ("b", -9999.0)
    written = answer_line(row | {"tokens": tokens}, Shared(COMPLETIONS, "m", ""), "batch", 7)["response"][
        "body"
    ]
    assert written["choices"][0]["text"] == "b"
    assert written["choices"][0]["logprobs"]["tokens"] == ["b"]
    failed = answer_line({"id": "c", "error": {"code": "X", "message": "y"}}, shared, "batch", 7)
    assert (failed["response"], failed["error"]) == (None, {"code": "X", "message": "y"})
    assert failed["id"] == plain["id"] != answer_line(row, shared, "another", 7)["id"]


def shown(
    state: int = common_pb2.CREATING, done: bool = False, error: int = 0, **metadata: Any
) -> tuple[str, dict[str, Any]]:
    batch = batches_pb2.Batch(
        name="projects/p/batches/b",
        dataset="projects/p/datasets/d",
        output_dataset="projects/p/datasets/o" if state == common_pb2.ACTIVE else "",
        state=state,
        row_count=5,
        answered_count=3,
        error_count=1,
        labels={"openai-endpoint": CHAT, "mine": "1"},
    )
    packed = any_pb2.Any()
    packed.Pack(common_pb2.OperationMetadata(**metadata))
    operation = operations_pb2.Operation(done=done, metadata=packed)
    if error:
        operation.error.CopyFrom(status_pb2.Status(code=error, message="it says"))
    answer = batch_of(batch, operation)
    return answer["status"], answer


def test_states_of_a_batch() -> None:
    assert shown()[0] == "in_progress"
    assert shown(stage="uploading")[0] == "finalizing"
    assert shown(cancel_requested=True)[0] == "cancelling"
    status, done = shown(common_pb2.ACTIVE, done=True)
    assert status == "completed"
    assert (done["output_file_id"], done["error_file_id"]) == ("o", "errors:o")
    assert done["request_counts"] == {"total": 5, "completed": 2, "failed": 1}
    assert (done["metadata"], done["endpoint"]) == ({"mine": "1"}, CHAT)
    assert shown(common_pb2.ACTIVE, done=True, error=code_pb2.CANCELLED)[0] == "cancelled"
    status, failed = shown(common_pb2.FAILED, done=True, error=code_pb2.NOT_FOUND)
    assert status == "failed"
    assert failed["errors"]["data"] == [{"code": "NOT_FOUND", "message": "it says"}]
    assert failed["output_file_id"] is None
