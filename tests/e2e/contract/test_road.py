"""upload -> augment -> study -> report -> ask, the same on both platforms."""

import json
from typing import Any

import pytest

from ingrain.v1 import (
    aliases_pb2,
    augmenter_pb2,
    batches_pb2,
    common_pb2,
    datasets_pb2,
    evaluator_pb2,
    inference_pb2,
    studies_pb2,
    trainer_pb2,
)
from tests.e2e.contract.asked import PROBES, Contract, too_early

pytestmark = pytest.mark.timeout(600)


def test_augmentation(contract: Contract) -> None:
    spec = augmenter_pb2.AugmentationSpec(dataset=contract.documents.name, strategies=["rephrase"])
    spec.model = contract.model.name
    request = augmenter_pb2.PreviewAugmentationRequest(parent=contract.parent, spec=spec, document_count=1)
    shown = contract.stubs.augmenter.PreviewAugmentation(request)
    assert set(shown.prompts) == {"rephrase"}
    for row in map(json.loads, shown.rows):
        assert row.keys() >= {"text", "metadata", "provenance"}
        assert (row["metadata"]["strategy"], row["provenance"]["source_rows"]) == ("rephrase", ["d0"])

    own = augmenter_pb2.AugmentationSpec(dataset=contract.documents.name, strategies=["reverse_words"])
    made = augmenter_pb2.AugmentDatasetRequest(parent=contract.parent, spec=own)
    derived = contract.made(contract.stubs.augmenter.AugmentDataset(made))
    assert (derived.kind, derived.row_count) == (datasets_pb2.Dataset.DOCUMENTS, 3)
    provenance = derived.provenance
    assert (provenance.source_dataset, list(provenance.strategies)) == (own.dataset, ["reverse_words"])
    assert (provenance.source_sha256, dict(provenance.kept_counts)) == (
        contract.documents.sha256,
        {"reverse_words": 3},
    )


def test_study_report_and_what_answers(contract: Contract) -> None:
    stubs, tag, model = contract.stubs, contract.tag, contract.model.name
    spec = studies_pb2.StudySpec(
        dataset=contract.documents.name, probes=contract.probes.name, model=model, methods=["base", "icl"]
    )
    wanted = studies_pb2.Study(spec=spec, display_name="a title")
    request = studies_pb2.CreateStudyRequest(parent=contract.parent, study_id=f"s-{tag}", study=wanted)
    study = contract.made(stubs.studies.CreateStudy(request))
    assert (study.state, study.display_name) == (common_pb2.ACTIVE, "a title")
    assert study.HasField("end_time")
    assert [outcome.method for outcome in study.outcomes] == ["base", "icl"]
    for outcome in study.outcomes:
        assert [(kind.kind, kind.metric, kind.n) for kind in outcome.kinds] == [("reversal", "acc", 3)]
        assert outcome.ci95_low <= outcome.accuracy <= outcome.ci95_high
        get = evaluator_pb2.GetEvaluationRequest(name=outcome.evaluation)
        evaluation = stubs.evaluator.GetEvaluation(get)
        assert (evaluation.subject.model, evaluation.subject.HasField("context")) == (
            outcome.model,
            outcome.method == "icl",
        )
    assert {step.id for step in study.steps} == {"evaluate base", "evaluate icl"}
    assert study.recommendation.method in ("base", "icl")
    assert study.recommendation.model == model

    # Its events stay, and can be read from any of them on.
    events = list(stubs.studies.WatchStudy(studies_pb2.WatchStudyRequest(name=study.name)))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert {event.step.id for event in events if event.HasField("step")} == {"evaluate base", "evaluate icl"}
    again = studies_pb2.WatchStudyRequest(name=study.name, start_sequence=2)
    assert list(stubs.studies.WatchStudy(again)) == events[1:]
    again.start_sequence = 9999
    assert list(stubs.studies.WatchStudy(again)) == []

    def report(format: str) -> studies_pb2.GetReportResponse:
        return stubs.studies.GetReport(studies_pb2.GetReportRequest(name=study.name, format=format))

    answer = report("FORMAT_UNSPECIFIED")
    assert (answer, answer.media_type) == (report("JSON"), "application/json")
    told = json.loads(answer.content)
    assert (told["schema"], told["study"], told["title"]) == ("ingrain.report/3", study.name, "a title")
    assert told["recommendation"]["method"] == study.recommendation.method
    assert told["methods"]["icl"]["kinds"]["reversal"]["n"] == 3
    for format in ("MARKDOWN", "HTML"):
        answer = report(format)
        assert answer.media_type == f"text/{format.lower()}; charset=utf-8"
        assert answer.sha256

    # Who answers: the model by its name, the winner by the study's, and an alias of it.
    name = contract.name("aliases", f"bot-{tag}@prod")
    promote = aliases_pb2.PromoteAliasRequest(name=name, target=f"auto:s-{tag}")
    alias = stubs.aliases.PromoteAlias(promote)
    assert stubs.aliases.PromoteAlias(promote) == alias  # the same again changes nothing
    for asked in (
        model,
        f"icl:docs-{tag}@small-{tag}",
        f"rag:docs-{tag}@small-{tag}",
        f"auto:s-{tag}",
        f"bot-{tag}@prod",
        name,
    ):
        one = inference_pb2.GenerateRequest(
            parent=contract.parent, model=asked, prompts=["cemid are"], max_tokens=2
        )
        answered = stubs.inference.Generate(one)
        assert (answered.model, len(answered.generations)) == (model, 1)
        assert answered.generations[0].token_count <= 2
        assert answered.generations[0].finish_reason
        assert answered.usage.prompt_token_count
    promote.target = model
    changed = stubs.aliases.PromoteAlias(promote)
    if study.recommendation.method == "icl":
        assert (alias.target, changed.target) == (f"icl:docs-{tag}@small-{tag}", model)
        assert [version.target for version in changed.versions] == [alias.target]
        back = stubs.aliases.RollBackAlias(aliases_pb2.RollBackAliasRequest(name=name, etag=changed.etag))
        assert (back.target, back.subject, list(back.versions)) == (alias.target, alias.subject, [])
    else:
        assert changed == alias
    stubs.aliases.DeleteAlias(aliases_pb2.DeleteAliasRequest(name=name))
    assert stubs.aliases.PromoteAlias(promote).target == model  # the name can be used again


def test_streams_scores_and_contexts(contract: Contract) -> None:
    inference, model = contract.stubs.inference, contract.model.name
    fields: dict[str, Any] = {"parent": contract.parent, "model": model}
    one = inference_pb2.GenerateRequest(prompts=["cemid are"], max_tokens=3, **fields)
    pieces = list(inference.StreamGenerate(one))
    assert {piece.model for piece in pieces} == {model}
    assert {piece.finish_reason for piece in pieces[:-1]} <= {0}
    assert pieces[-1].finish_reason
    assert pieces[-1].usage.prompt_token_count

    item = inference_pb2.ScoreItem(prompt=PROBES[0]["prompt"], choices=PROBES[0]["choices"])
    scored = inference.Score(inference_pb2.ScoreRequest(items=[item, item], **fields))
    assert (scored.model, [len(scores.choices) for scores in scored.items]) == (model, [2, 2])
    for score in scored.items[0].choices:
        assert score.sum_logprob < 0
        assert score.sum_logprob == pytest.approx(score.mean_logprob * score.token_count)
    counted = inference.CountTokens(inference_pb2.CountTokensRequest(texts=["cemid are", ""], **fields))
    assert (counted.token_counts[0] > 1, len(counted.token_counts)) == (True, 2)

    wanted = inference_pb2.Context(model=model, dataset=contract.documents.name)
    id = f"road-{contract.tag}"
    request = inference_pb2.CreateContextRequest(parent=contract.parent, context_id=id, context=wanted)
    held = contract.made(inference.CreateContext(request))
    assert (held.state, held.row_count, bool(held.token_count), bool(held.sha256)) == (
        common_pb2.ACTIVE,
        3,
        True,
        True,
    )
    one.context = held.name
    assert inference.Generate(one).model == model


def test_batches_and_evaluations(contract: Contract) -> None:
    stubs, model = contract.stubs, contract.model.name
    asked = batches_pb2.Batch(model=model, dataset=contract.probes.name, labels={"a": "b"})
    request = batches_pb2.CreateBatchRequest(
        parent=contract.parent, batch_id=f"b-{contract.tag}", batch=asked
    )
    operation = stubs.batches.CreateBatch(request)
    answers = contract.made(operation)
    batch = stubs.batches.GetBatch(
        batches_pb2.GetBatchRequest(name=contract.name("batches", request.batch_id))
    )
    assert (batch.state, batch.row_count, batch.answered_count, batch.error_count) == (
        common_pb2.ACTIVE,
        3,
        3,
        0,
    )
    assert (batch.output_dataset, batch.operation, dict(batch.labels)) == (
        answers.name,
        operation.name,
        {"a": "b"},
    )
    assert (answers.kind, answers.row_count) == (datasets_pb2.Dataset.ANSWERS, 3)
    rows = [
        json.loads(row)
        for page in stubs.datasets.ReadRows(datasets_pb2.ReadRowsRequest(name=answers.name))
        for row in page.rows
    ]
    assert [(row["id"], len(row["scores"])) for row in rows] == [("p0", 2), ("p1", 2), ("p2", 2)]

    wanted = evaluator_pb2.Evaluation(subject=evaluator_pb2.Subject(model=model), probes=contract.probes.name)
    made = evaluator_pb2.CreateEvaluationRequest(parent=contract.parent, evaluation=wanted)
    evaluation = contract.made(stubs.evaluator.CreateEvaluation(made))
    assert (evaluation.probe_count, evaluation.probes_sha256) == (3, contract.probes.sha256)
    assert (evaluation.model_sha256, evaluation.asking) == (
        contract.model.sha256,
        evaluator_pb2.Evaluation.CHOICE,
    )
    (kind,) = evaluation.kinds
    assert kind.ci95_low <= kind.value <= kind.ci95_high
    results = [
        json.loads(row)
        for page in stubs.evaluator.ReadResults(
            evaluator_pb2.ReadResultsRequest(name=evaluation.name, start_row=1)
        )
        for row in page.rows
    ]
    assert [row["id"] for row in results] == ["p1", "p2"]
    for row in results:
        assert row.keys() >= {"kind", "cluster", "metric", "value", "metrics", "answer"}
        assert row["value"] == row["metrics"]["acc"]
    missing = evaluator_pb2.ReadResultsRequest(name=contract.name("evaluations"))
    assert contract.refusal(lambda: stubs.evaluator.ReadResults(missing))[1] == "RESOURCE_NOT_FOUND"


def test_the_same_weights_under_another_name_are_studied_as_well(contract: Contract) -> None:
    """What was asked before is taken from there, but not the contexts of the other name."""
    imported = trainer_pb2.ImportModelRequest(parent=contract.parent, source_uri="bundled://small")
    models = [contract.model, contract.made(contract.stubs.trainer.ImportModel(imported))]
    assert models[0].sha256
    for model in models:
        spec = studies_pb2.StudySpec(
            dataset=contract.documents.name, probes=contract.probes.name, model=model.name, methods=["icl"]
        )
        wanted = studies_pb2.Study(spec=spec)
        request = studies_pb2.CreateStudyRequest(parent=contract.parent, study=wanted)
        study = contract.made(contract.stubs.studies.CreateStudy(request))
        assert (study.recommendation.method, study.recommendation.model) == ("icl", model.name)


def test_models_in_the_making_cannot_be_asked(contract: Contract) -> None:
    request = trainer_pb2.ImportModelRequest(parent=contract.parent, source_uri="bundled://other")
    operation = contract.stubs.trainer.ImportModel(request)
    name = operation.name.rpartition("/operations/")[0]
    assert contract.refusal(lambda: contract.made(operation))[1] == "SOURCE_NOT_FOUND"
    get = trainer_pb2.GetModelRequest(name=name)
    assert contract.stubs.trainer.GetModel(get).state == common_pb2.FAILED
    assert contract.refusal(lambda: contract.client.generate(name, "a")) == too_early("MODEL_NOT_ACTIVE")
