"""The fake's studies: every method answers as its words know, at once, and costs nothing."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict

from ingrain.testing.library import Library
from ingrain.testing.measuring import answers, measure
from ingrain.testing.store import Refused, Work, metadata_of
from ingrain.v1 import common_pb2, evaluator_pb2, studies_pb2, studies_pb2_grpc, trainer_pb2

_METHODS = ("base", "icl", "finetune", "augmented_finetune")
_KNOWN = {
    *_METHODS,
    *("icl_subset", "icl_retrieved", "rag", "augmented_finetune_local", "augmented_finetune_global"),
    *("finetune_icl", "augmented_finetune_icl", "shuffled_finetune"),
}
_READING = ("icl", "rag")  # what names of methods that read documents hold
_Format = studies_pb2.GetReportRequest


class Studies(studies_pb2_grpc.StudiesServicer):
    def __init__(self, library: Library, prices: studies_pb2.PriceTable) -> None:
        self.library, self.store, self.prices = library, library.store, prices
        self._events: dict[str, list[studies_pb2.StudyEvent]] = {}

    def CreateStudy(self, request: Any, context: Any) -> operations_pb2.Operation:
        spec = request.study.spec
        for number, method in enumerate(spec.methods):
            if method not in _KNOWN:
                field = f"study.spec.methods[{number}]"
                known = ", ".join(sorted(_KNOWN))
                message = f"{method!r} is not a method; known are {known}"
                raise Refused(
                    "INVALID_ARGUMENT", "UNKNOWN_METHOD", message, field, method=method, known=known
                )
        if request.validate_only:
            estimate = common_pb2.Estimate(
                step_count=300, notes=["train finetune: about 3 s of the processor"]
            )
            self._require_inputs(spec)
            name = self.store.name_of(request.parent, "studies", request.study_id)
            return self.store.estimate(name, "CreateStudy", estimate)
        return self.store.once(request, lambda: self._start(request))

    def _start(self, request: Any) -> operations_pb2.Operation:
        study = studies_pb2.Study(display_name=request.study.display_name, spec=request.study.spec)
        study.name = self.store.new_name(request.parent, "studies", request.study_id)
        study.spec.methods[:] = list(study.spec.methods) or list(_METHODS)
        compared = dict.fromkeys(study.spec.methods, study.spec.model)
        for contender in study.spec.contenders:
            short = contender.model.rpartition("/")[2]
            compared |= {f"{method}@{short}": contender.model for method in contender.methods or ["icl"]}
        stages = {f"evaluate {method}": 1 for method in compared}
        finish = lambda: self._finish(study, compared)  # noqa: E731
        return self.store.start(
            study, Work("CreateStudy", stages, finish, told=lambda stage: self._tell(study, stage))
        )

    def _require_inputs(self, spec: studies_pb2.StudySpec) -> None:
        for name in (spec.dataset, spec.probes, spec.model, *(c.model for c in spec.contenders)):
            self.store.active(name)

    def _tell(self, study: studies_pb2.Study, stage: str) -> None:
        """What watchers are told when a step is done."""
        told = self._events.setdefault(study.name, [])
        event = studies_pb2.StudyEvent(sequence=len(told) + 1, message=stage)
        event.event_time.GetCurrentTime()
        event.step.id, event.step.status = stage, studies_pb2.StudyStep.DONE
        operations = [n for n in self.store.operations if n.startswith(f"{study.name}/operations/")]
        event.progress.CopyFrom(metadata_of(self.store.operations[operations[-1]]))
        told.append(event)

    def _finish(self, study: studies_pb2.Study, compared: dict[str, str]) -> None:
        self._require_inputs(study.spec)
        documents = self.library.texts(study.spec.dataset)
        for method, base in compared.items():
            model = base
            if "finetune" in method:
                short = method.replace("_", "-").replace("@", "-")
                model = f"{base}-{study.name.rsplit('/', 1)[-1]}-{short}"
                training = trainer_pb2.TrainingSpec(base_model=base)
                training.datasets.add(dataset=study.spec.dataset)
                made = trainer_pb2.Model(name=model, state=common_pb2.ACTIVE, training=training)
                self.store.put(made)
            knows = [] if method.startswith("base") else documents
            evaluation = self._evaluated(study, method, model, knows)
            outcome = study.outcomes.add(method=method, model=model, kinds=evaluation.kinds)
            outcome.evaluation, kinds = evaluation.name, evaluation.kinds
            outcome.question_cost.compute_seconds = outcome.build_cost.compute_seconds = 0.0
            outcome.accuracy = sum(kind.value for kind in kinds) / max(1, len(kinds))
            outcome.ci95_low = outcome.ci95_high = outcome.accuracy
            done = studies_pb2.StudyStep.DONE
            study.steps.add(id=f"evaluate {method}", status=done, resource=evaluation.name)
        best = max(study.outcomes, key=lambda o: (o.accuracy, "finetune" in o.method))
        recommended = study.recommendation
        recommended.method, recommended.model, recommended.confidence = best.method, best.model, 1.0
        recommended.reason = f"{best.method} answers {best.accuracy:.0%} of the probes."
        recommended.changes.append("With other probes it may be another.")
        if any(part in _READING for part in best.method.partition("@")[0].split("_")):
            self._read(study.spec, best.method, recommended.context)
        study.end_time.GetCurrentTime()

    def _evaluated(
        self, study: studies_pb2.Study, method: str, model: str, knows: list[str]
    ) -> evaluator_pb2.Evaluation:
        """The evaluation of one method, a resource of its own."""
        parent, _, short = study.name.partition("/studies/")
        name = f"{parent}/evaluations/{short}-{method.replace('_', '-').replace('@', '-')}"
        evaluation = evaluator_pb2.Evaluation(name=name, probes=study.spec.probes)
        evaluation.subject.model = model
        if any(part in _READING for part in method.partition("@")[0].split("_")):
            self._read(study.spec, method, evaluation.subject.context)
        rows = self.library.results[name] = answers(self.library, study.spec.probes, knows)
        evaluation.probe_count = len(rows)
        evaluation.probes_sha256 = self.store.get(study.spec.probes).sha256
        evaluation.kinds.extend(measure(rows))
        put: evaluator_pb2.Evaluation = self.store.put(evaluation)
        return put

    def _read(self, spec: studies_pb2.StudySpec, method: str, context: evaluator_pb2.SubjectContext) -> None:
        """What the winner reads, as the real platform hands it over."""
        context.dataset, context.group_key = spec.dataset, spec.group_key
        context.distinct_key = spec.distinct_key
        if "subset" in method:
            context.subset.CopyFrom(spec.subset)
        if "retrieved" in method or "rag" in method:
            context.retrieval.CopyFrom(spec.retrieval)

    def GetStudy(self, request: Any, context: Any) -> studies_pb2.Study:
        return self.store.get(request.name)

    def ListStudies(self, request: Any, context: Any) -> studies_pb2.ListStudiesResponse:
        found, token = self.store.page(request.parent, "studies", request)
        return studies_pb2.ListStudiesResponse(studies=found, next_page_token=token)

    def DeleteStudy(self, request: Any, context: Any) -> empty_pb2.Empty:
        if self.store.get(request.name).state == common_pb2.CREATING:
            message = f"{request.name} is at work; cancel its operation first"
            raise Refused("FAILED_PRECONDITION", "STUDY_RUNNING", message)
        self.store.delete(request.name)
        return empty_pb2.Empty()

    def PauseStudy(self, request: Any, context: Any) -> studies_pb2.Study:
        """No further step begins until it is resumed."""
        return self._set_paused(request.name, True)

    def ResumeStudy(self, request: Any, context: Any) -> studies_pb2.Study:
        return self._set_paused(request.name, False)

    def _set_paused(self, name: str, paused: bool) -> studies_pb2.Study:
        with self.store.changed:
            study = self.store.get(name)
            if study.state != common_pb2.CREATING:
                state = common_pb2.State.Name(study.state)
                message = f"{name} is {state}; only a study at work can be paused or resumed"
                raise Refused("FAILED_PRECONDITION", "STUDY_NOT_RUNNING", message, state=state)
            study.paused = paused
            self.store.changed.notify_all()
            return study

    def GetPriceTable(self, request: Any, context: Any) -> studies_pb2.PriceTable:
        return self.prices

    def WatchStudy(self, request: Any, context: Any) -> Iterator[studies_pb2.StudyEvent]:
        self.store.get(request.name)
        position = max(1, request.start_sequence)
        for metadata in self.store.watch(request.name):
            if metadata is None:
                yield studies_pb2.StudyEvent()
            for event in self._events.get(request.name, [])[position - 1 :]:
                yield event
                position = event.sequence + 1
        yield from self._events.get(request.name, [])[position - 1 :]

    def GetReport(self, request: Any, context: Any) -> studies_pb2.GetReportResponse:
        study = self.store.get(request.name)
        if study.state != common_pb2.ACTIVE:
            state = common_pb2.State.Name(study.state)
            message = f"{study.name} is {state}; a study has a report when it is ACTIVE"
            raise Refused("FAILED_PRECONDITION", "REPORT_NOT_READY", message, state=state)
        content, media_type = json.dumps(self._report(study)), "application/json"
        if request.format == _Format.MARKDOWN:
            content, media_type = f"# {study.name}\n", "text/markdown; charset=utf-8"
        if request.format == _Format.HTML:
            content, media_type = f"<!doctype html><title>{study.name}</title>", "text/html; charset=utf-8"
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        return studies_pb2.GetReportResponse(content=content.encode(), media_type=media_type, sha256=sha256)

    def _report(self, study: studies_pb2.Study) -> dict[str, Any]:
        """The keys of the real one that clients read; docs/report.md."""
        spec = study.spec
        contenders = [self._model(contender.model) for contender in spec.contenders]
        return {
            "schema": "ingrain.report/3",
            "study": study.name,
            "title": study.display_name,
            "create_time": study.create_time.ToJsonString(),
            "end_time": study.end_time.ToJsonString(),
            "methods": {
                outcome.method: _method(outcome, list(spec.training_seeds) or [spec.seed])
                for outcome in study.outcomes
            },
            "recommendation": {
                "method": study.recommendation.method,
                "model": study.recommendation.model,
                "reason": study.recommendation.reason,
                "confidence": study.recommendation.confidence,
                "changes": list(study.recommendation.changes),
            },
            "comparisons": [],
            "differences": [],
            "retention": [],
            "requirements": None,
            "notes": ["The fake platform answers by shared words; no model was trained or asked."],
            "prices": None,
            "previous": None,
            "reuse": {
                "steps": len(study.steps),
                "steps_reused": 0,
                "prompts": 0,
                "prompts_reused": 0,
                "probes": len(study.outcomes) * len(self.library.rows[spec.probes]),
                "probes_reused": 0,
            },
            "augmentation": {},
            "environment": [],
            "steps": [{"id": step.id, "fingerprint": "", "resource": ""} for step in study.steps],
            "inputs": {
                "spec": MessageToDict(spec, preserving_proto_field_name=True),
                "model": self._model(spec.model),
                "contenders": contenders,
            },
        }

    def _model(self, name: str) -> dict[str, Any]:
        model = self.store.get(name)
        return {"name": name, "source": model.source, "sha256": model.sha256, "endpoint": None}


def _method(outcome: studies_pb2.MethodOutcome, seeds: list[int]) -> dict[str, Any]:
    kinds = {
        k.kind: {
            "metric": k.metric,
            "accuracy": k.value,
            "n": k.n,
            "counted": True,
            "stderr": k.stderr,
            "ci95": [k.ci95_low, k.ci95_high],
            "chance": None,
        }
        for k in outcome.kinds
    }
    nothing = {"flops": 0.0, "compute_seconds": 0.0}
    return {
        "kinds": kinds,
        "accuracy": outcome.accuracy,
        "ci95": [outcome.ci95_low, outcome.ci95_high],
        "model": outcome.model,
        "seeds": [
            {"seed": seed, "model": outcome.model, "model_sha256": "", "accuracy": outcome.accuracy}
            for seed in (seeds if "finetune" in outcome.method else seeds[:1])
        ],
        "cost": {
            "build": nothing,
            "question": nothing,
            "build_price": None,
            "thousand_questions_price": None,
        },
        "latency": None,
    }
