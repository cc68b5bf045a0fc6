"""The fake's evaluations."""

import json
import math
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.testing import words
from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Work
from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, evaluator_pb2_grpc

_Dataset = datasets_pb2.Dataset


def answers(library: Library, probes: str, texts: list[str]) -> list[dict[str, Any]]:
    """Rows of ReadResults: forced choice by score, else whether an answer stands in the text."""
    rows = []
    for probe in map(json.loads, library.rows[probes]):
        if "text" in probe:
            rows.append(_text_row(probe, texts))
            continue
        if probe.get("choices"):
            scores = [words.score(probe["prompt"], choice, texts)[0] for choice in probe["choices"]]
            told = probe["choices"][scores.index(max(scores))]
            metric, value = "acc", float(told in words.right_answers(probe))
        else:
            told = words.answer(probe["question"], texts)
            found = [answer.lower() in told.lower() for answer in probe["answers"]]
            metric = "f1" if probe["kind"] == "list" else "exact_match"
            value = sum(found) / len(found)
        row = {"id": probe["id"], "kind": probe["kind"], "cluster": probe["id"], "metric": metric}
        rows.append({**row, "value": value, "metrics": {metric: value}, "answer": told})
    return rows


def _text_row(document: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """Two bits for each byte of a word that was never read, one for all else."""
    text, known = document["text"], set(" ".join(texts).lower().split())
    new = sum(len(word.encode()) for word in text.split() if word.lower() not in known)
    size = len(text.encode())
    kind = (document.get("metadata") or {}).get("kind") or "text"
    value = 1 + new / size
    row = {"id": document["id"], "kind": kind, "cluster": document["id"], "metric": "bits_per_byte"}
    counts = {
        "loglikelihood": -value * size * math.log(2),
        "byte_count": size,
        "word_count": len(text.split()),
    }
    return {**row, **counts, "window_count": 1, "value": value, "metrics": {"bits_per_byte": value}}


def measure(rows: list[dict[str, Any]]) -> list[evaluator_pb2.KindResult]:
    """Per kind."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    results = []
    for kind, of_kind in by_kind.items():
        metric, n = of_kind[0]["metric"], len(of_kind)
        mean = sum(row["value"] for row in of_kind) / n
        error = math.sqrt(sum((row["value"] - mean) ** 2 for row in of_kind)) / n
        low, high = max(0.0, mean - 1.96 * error), mean + 1.96 * error
        if metric != "bits_per_byte":
            high = min(1.0, high)
        result = evaluator_pb2.KindResult(kind=kind, metric=metric, value=mean, n=n, stderr=error)
        result.ci95_low, result.ci95_high = low, high
        result.metrics[metric] = mean
        results.append(result)
    return results


class Evaluator(evaluator_pb2_grpc.EvaluatorServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def CreateEvaluation(self, request: Any, context: Any) -> operations_pb2.Operation:
        wanted = request.evaluation
        self.store.active(wanted.subject.model)
        probes = self.store.active(wanted.probes)
        if probes.kind not in (_Dataset.PROBES, _Dataset.DOCUMENTS):
            kind = _Dataset.Kind.Name(probes.kind)
            message = f"{probes.name} holds {kind}; name a dataset of PROBES or DOCUMENTS"
            raise Refused("INVALID_ARGUMENT", "WRONG_DATASET_KIND", message, "evaluation.probes")
        texts = self.library.known(wanted.subject).texts
        if request.validate_only:
            name = self.store.name_of(request.parent, "evaluations", request.evaluation_id)
            estimate = common_pb2.Estimate(row_count=probes.row_count)
            return self.store.estimate(name, "CreateEvaluation", estimate)
        return self.store.once(request, lambda: self._start(request, texts))

    def _start(self, request: Any, texts: list[str]) -> operations_pb2.Operation:
        wanted = request.evaluation
        result = evaluator_pb2.Evaluation(subject=wanted.subject, probes=wanted.probes)
        result.cluster_key, result.question_template = wanted.cluster_key, wanted.question_template
        result.asking = wanted.asking or evaluator_pb2.Evaluation.CHOICE
        if wanted.HasField("judge"):
            result.judge.CopyFrom(wanted.judge)
        result.model_sha256 = self.store.get(wanted.subject.model).sha256
        result.name = self.store.new_name(request.parent, "evaluations", request.evaluation_id)
        result.probes_sha256 = self.store.get(wanted.probes).sha256

        def finish() -> None:
            rows = answers(self.library, wanted.probes, texts)
            self.library.results[result.name] = rows
            result.probe_count = len(rows)
            result.kinds.extend(measure(rows))

        return self.store.start(result, Work("CreateEvaluation", {"asking": 2}, finish))

    def ReadResults(self, request: Any, context: Any) -> Iterator[evaluator_pb2.ReadResultsResponse]:
        self.store.active(request.name)
        rows = [json.dumps(row) for row in self.library.results[request.name][request.start_row :]]
        if rows:
            yield evaluator_pb2.ReadResultsResponse(rows=rows, start_row=request.start_row)

    def GetEvaluation(self, request: Any, context: Any) -> evaluator_pb2.Evaluation:
        return self.store.get(request.name)

    def ListEvaluations(self, request: Any, context: Any) -> evaluator_pb2.ListEvaluationsResponse:
        found, token = self.store.page(request.parent, "evaluations", request)
        return evaluator_pb2.ListEvaluationsResponse(evaluations=found, next_page_token=token)

    def DeleteEvaluation(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()
