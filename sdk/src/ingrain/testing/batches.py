"""The fake's batches: every row answered by shared words."""

import json
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.inference import QUESTION
from ingrain.testing import words
from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Work
from ingrain.v1 import batches_pb2 as pb
from ingrain.v1 import batches_pb2_grpc, common_pb2, datasets_pb2, inference_pb2

_KINDS = (datasets_pb2.Dataset.PROMPTS, datasets_pb2.Dataset.PROBES)


class Batches(batches_pb2_grpc.BatchesServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def CreateBatch(self, request: Any, context: Any) -> operations_pb2.Operation:
        dataset = self.store.active(request.batch.dataset)
        if dataset.kind not in _KINDS:
            kind = datasets_pb2.Dataset.Kind.Name(dataset.kind)
            message = f"{dataset.name} holds {kind}; a batch asks PROMPTS or PROBES"
            raise Refused("INVALID_ARGUMENT", "NOT_PROMPTS", message, "batch.dataset")
        asked = inference_pb2.GenerateRequest(
            parent=request.parent, model=request.batch.model, context=request.batch.context
        )
        texts = self.library.asked(asked).texts
        if request.validate_only:
            name = self.store.name_of(request.parent, "batches", request.batch_id)
            return self.store.estimate(name, "CreateBatch", common_pb2.Estimate(row_count=dataset.row_count))
        return self.store.once(request, lambda: self._start(request, texts))

    def _start(self, request: Any, texts: list[str]) -> operations_pb2.Operation:
        given = request.batch
        batch = pb.Batch(model=given.model, dataset=given.dataset, context=given.context, labels=given.labels)
        batch.max_tokens, batch.temperature, batch.seed = given.max_tokens, given.temperature, given.seed
        batch.stop.extend(given.stop)
        batch.name = self.store.new_name(request.parent, "batches", request.batch_id)
        rows = list(map(json.loads, self.library.rows[batch.dataset]))
        batch.row_count = len(rows)
        answers = datasets_pb2.Dataset(kind=datasets_pb2.Dataset.ANSWERS)
        answers.display_name = f"answers of {batch.name}"
        answers.labels["batch"] = batch.name

        def finish() -> None:
            found = [_answer(number, row, texts) for number, row in enumerate(rows)]
            answers.name = f"{batch.name.replace('/batches/', '/datasets/')}-answers"
            self.library.add(answers, "\n".join(map(json.dumps, found)).encode())
            self.store.put(answers)
            batch.cost.prompt_token_count = len(found)
            batch.answered_count, batch.output_dataset = len(found), answers.name

        operation = self.store.start(batch, Work("CreateBatch", {"answering": 2}, finish, answers))
        batch.operation = operation.name
        return operation

    def GetBatch(self, request: Any, context: Any) -> pb.Batch:
        return self.store.get(request.name)

    def ListBatches(self, request: Any, context: Any) -> pb.ListBatchesResponse:
        found, token = self.store.page(request.parent, "batches", request)
        return pb.ListBatchesResponse(batches=found, next_page_token=token)

    def DeleteBatch(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()


def _answer(number: int, row: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    row_id = row.get("id", f"row-{number + 1:06d}")
    if row.get("choices"):
        scores = [words.score(row["prompt"], choice, texts) for choice in row["choices"]]
        told = [{"sum_logprob": s, "mean_logprob": s / n, "token_count": n} for s, n in scores]
        return {"id": row_id, "scores": told}
    if "messages" in row:
        asked = row["messages"][-1]["content"]
    else:
        asked = row.get("prompt") or QUESTION.format(question=row["question"])
    text = words.answer(asked, texts)
    return {
        "id": row_id,
        "completion": text,
        "finish_reason": "stop",
        "token_count": words.token_count(text),
    }
