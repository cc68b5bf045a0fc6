"""The fake's evaluations, studies, projects and keys."""

import json
import math
import uuid
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.testing import words
from ingrain.testing.services import Library
from ingrain.testing.store import Store, Work
from ingrain.v1 import (
    common_pb2,
    evaluator_pb2,
    evaluator_pb2_grpc,
    projects_pb2,
    projects_pb2_grpc,
    studies_pb2,
    studies_pb2_grpc,
    trainer_pb2,
)

_METHODS = ("base", "icl", "finetune", "augmented_finetune")


def answers(library: Library, probes: str, texts: list[str]) -> list[dict[str, Any]]:
    """Rows of ReadResults: forced choice by score, else whether an answer stands in the text."""
    rows = []
    for probe in map(json.loads, library.rows[probes]):
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


def measure(rows: list[dict[str, Any]]) -> list[evaluator_pb2.KindResult]:
    """Per kind."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_kind.setdefault(row["kind"], []).append(row)
    results = []
    for kind, of_kind in by_kind.items():
        metric, n = of_kind[0]["metric"], len(of_kind)
        mean = sum(row["value"] for row in of_kind) / n
        error = math.sqrt(mean * (1 - mean) / n)
        low, high = max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error)
        result = evaluator_pb2.KindResult(kind=kind, metric=metric, value=mean, n=n, stderr=error)
        result.ci95_low, result.ci95_high = low, high
        result.metrics[metric] = mean
        results.append(result)
    return results


class Evaluator(evaluator_pb2_grpc.EvaluatorServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store
        self.answers: dict[str, list[dict[str, Any]]] = {}

    def CreateEvaluation(self, request: Any, context: Any) -> operations_pb2.Operation:
        return self.store.once(request, lambda: self._start(request))

    def _start(self, request: Any) -> operations_pb2.Operation:
        wanted = request.evaluation
        texts = self.library.known(wanted.subject.model, request.parent)
        if wanted.subject.HasField("context"):
            texts = texts + self.library.texts(wanted.subject.context.dataset)
        self.store.active(wanted.probes)
        result = evaluator_pb2.Evaluation()
        result.MergeFrom(wanted)
        result.name = self.store.new_name(request.parent, "evaluations", request.evaluation_id)
        result.probes_sha256 = self.store.get(wanted.probes).sha256
        result.create_time.GetCurrentTime()

        def finish() -> None:
            rows = answers(self.library, wanted.probes, texts)
            self.answers[result.name] = rows
            result.probe_count = len(rows)
            result.kinds.extend(measure(rows))

        return self.store.start(result, Work("CreateEvaluation", {"asking": 2}, finish))

    def ReadResults(self, request: Any, context: Any) -> Iterator[evaluator_pb2.ReadResultsResponse]:
        self.store.active(request.name)
        rows = [json.dumps(row) for row in self.answers[request.name][request.start_row :]]
        yield evaluator_pb2.ReadResultsResponse(rows=rows, start_row=request.start_row)

    def GetEvaluation(self, request: Any, context: Any) -> evaluator_pb2.Evaluation:
        return self.store.get(request.name)

    def ListEvaluations(self, request: Any, context: Any) -> evaluator_pb2.ListEvaluationsResponse:
        found, token = self.store.page(request.parent, "evaluations", request)
        return evaluator_pb2.ListEvaluationsResponse(evaluations=found, next_page_token=token)

    def DeleteEvaluation(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()


class Studies(studies_pb2_grpc.StudiesServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def CreateStudy(self, request: Any, context: Any) -> operations_pb2.Operation:
        spec = request.study.spec
        for name in (spec.dataset, spec.probes, spec.model):
            self.store.active(name)
        if request.validate_only:
            return self.store.estimate(request.parent, "CreateStudy", common_pb2.Estimate(step_count=300))
        return self.store.once(request, lambda: self._start(request))

    def _start(self, request: Any) -> operations_pb2.Operation:
        study = studies_pb2.Study()
        study.MergeFrom(request.study)
        study.name = self.store.new_name(request.parent, "studies", request.study_id)
        methods = list(study.spec.methods) or list(_METHODS)
        stages = {f"evaluate {method}": 1 for method in methods}
        return self.store.start(study, Work("CreateStudy", stages, lambda: self._finish(study, methods)))

    def _finish(self, study: studies_pb2.Study, methods: list[str]) -> None:
        documents = self.library.texts(study.spec.dataset)
        for method in methods:
            model = study.spec.model
            if method.endswith("finetune"):
                model = f"{study.spec.model}-{study.name.rsplit('/', 1)[-1]}-{method.replace('_', '-')}"
                training = trainer_pb2.TrainingSpec(base_model=study.spec.model)
                training.datasets.add(dataset=study.spec.dataset)
                made = trainer_pb2.Model(name=model, state=common_pb2.ACTIVE, training=training)
                self.store.resources[model] = made
            kinds = measure(answers(self.library, study.spec.probes, [] if method == "base" else documents))
            study.outcomes.add(method=method, model=model, kinds=kinds)
            study.steps.add(id=f"evaluate {method}", status=studies_pb2.StudyStep.DONE)
        best = max(study.outcomes, key=lambda o: (_accuracy(o), o.method.endswith("finetune")))
        study.recommendation.method, study.recommendation.model = best.method, best.model
        study.recommendation.reason = f"{best.method} answers {_accuracy(best):.0%} of the probes."

    def GetStudy(self, request: Any, context: Any) -> studies_pb2.Study:
        return self.store.get(request.name)

    def ListStudies(self, request: Any, context: Any) -> studies_pb2.ListStudiesResponse:
        found, token = self.store.page(request.parent, "studies", request)
        return studies_pb2.ListStudiesResponse(studies=found, next_page_token=token)

    def DeleteStudy(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()

    def WatchStudy(self, request: Any, context: Any) -> Iterator[studies_pb2.StudyEvent]:
        self.store.get(request.name)
        last, sequence = "", 0
        for metadata in self.store.watch(request.name):
            if metadata.stage and metadata.stage != last:
                last, sequence = metadata.stage, sequence + 1
                step = studies_pb2.StudyStep(id=last, status=studies_pb2.StudyStep.DONE)
                if sequence >= request.start_sequence:
                    yield studies_pb2.StudyEvent(
                        sequence=sequence, step=step, progress=metadata, message=last
                    )

    def GetReport(self, request: Any, context: Any) -> studies_pb2.GetReportResponse:
        study = self.store.active(request.name)
        report = {
            "study": study.name,
            "methods": {outcome.method: {"kinds": _kinds(outcome)} for outcome in study.outcomes},
            "recommendation": {"method": study.recommendation.method, "reason": study.recommendation.reason},
        }
        if request.format == studies_pb2.GetReportRequest.MARKDOWN:
            return studies_pb2.GetReportResponse(
                content=f"# {study.name}\n".encode(), media_type="text/markdown"
            )
        if request.format == studies_pb2.GetReportRequest.HTML:
            page = f"<!doctype html><title>{study.name}</title>"
            return studies_pb2.GetReportResponse(content=page.encode(), media_type="text/html")
        return studies_pb2.GetReportResponse(
            content=json.dumps(report).encode(), media_type="application/json"
        )


class Projects(projects_pb2_grpc.ProjectsServicer):
    def ListProjects(self, request: Any, context: Any) -> projects_pb2.ListProjectsResponse:
        return projects_pb2.ListProjectsResponse(projects=[projects_pb2.Project(name="projects/default")])


class Keys(projects_pb2_grpc.KeysServicer):
    def __init__(self, store: Store) -> None:
        self.store = store

    def CreateKey(self, request: Any, context: Any) -> projects_pb2.CreateKeyResponse:
        key = projects_pb2.Key()
        key.MergeFrom(request.key)
        key.name = self.store.new_name(request.parent, "keys", "")
        key.create_time.GetCurrentTime()
        self.store.resources[key.name] = key
        return projects_pb2.CreateKeyResponse(key=key, secret=f"fake-{uuid.uuid4().hex}")

    def ListKeys(self, request: Any, context: Any) -> projects_pb2.ListKeysResponse:
        found, token = self.store.page(request.parent, "keys", request)
        return projects_pb2.ListKeysResponse(keys=found, next_page_token=token)

    def RevokeKey(self, request: Any, context: Any) -> projects_pb2.Key:
        key = self.store.get(request.name)
        key.revoke_time.GetCurrentTime()
        return key


def _accuracy(outcome: studies_pb2.MethodOutcome) -> float:
    return sum(k.value * k.n for k in outcome.kinds) / max(1, sum(k.n for k in outcome.kinds))


def _kinds(outcome: studies_pb2.MethodOutcome) -> dict[str, Any]:
    return {
        k.kind: {"accuracy": k.value, "n": k.n, "stderr": k.stderr, "ci95": [k.ci95_low, k.ci95_high]}
        for k in outcome.kinds
    }
