"""What is refused, and how: code, reason and the path of the field, the same on both platforms."""

from typing import Any

import pytest

from ingrain.v1 import (
    aliases_pb2,
    augmenter_pb2,
    batches_pb2,
    datasets_pb2,
    evaluator_pb2,
    inference_pb2,
    projects_pb2,
    studies_pb2,
    trainer_pb2,
)
from tests.e2e.contract.asked import GONE, TAKEN, Contract, Refusal, broken, invalid, too_early

pytestmark = pytest.mark.timeout(600)
CHOICE = {"kind": "k", "prompt": "a", "choices": ["x", "y"], "answer": "x"}
Chat, ChatMessage, Input = inference_pb2.Chat, inference_pb2.ChatMessage, inference_pb2.Input


def test_asking(contract: Contract) -> None:
    docs, small, model = f"docs-{contract.tag}", f"small-{contract.tag}", contract.model.name

    def generate(**fields: Any) -> Any:
        request = inference_pb2.GenerateRequest(
            **{"parent": contract.parent, "model": model, "prompts": ["a"], **fields}
        )
        return lambda: contract.stubs.inference.Generate(request)

    def score(*items: inference_pb2.ScoreItem) -> Any:
        request = inference_pb2.ScoreRequest(parent=contract.parent, model=model, items=items)
        return lambda: contract.stubs.inference.Score(request)

    item, both = inference_pb2.ScoreItem, inference_pb2.GenerateRequest(model=model, prompts=["a", "b"])
    judge = Input(chat=Chat(messages=[ChatMessage(role="judge", content="a")]))
    count = inference_pb2.CountTokensRequest(
        parent=contract.parent, model=contract.name("models"), texts=["a"]
    )
    read = {"model": f"icl:{docs}@{small}", "context": contract.name("contexts")}
    contract.check(
        {
            "no model": (generate(model=""), broken("model")),
            "no prompt": (generate(prompts=[]), invalid("PROMPTS_OR_INPUTS", "prompts")),
            "both": (generate(inputs=[Input(text="a")]), invalid("PROMPTS_OR_INPUTS", "prompts")),
            "empty": (generate(prompts=["a", ""]), invalid("EMPTY_PROMPT", "prompts[1]")),
            "temperature": (generate(temperature=3), broken("temperature")),
            "prompts": (generate(prompts=["a"] * 513), broken("prompts")),
            "role": (generate(inputs=[judge]), broken("inputs[0].chat.messages[0].role")),
            "input": (generate(inputs=[Input()]), broken("inputs[0].kind")),
            "schema": (generate(json_schema="{"), invalid("BAD_SCHEMA", "json_schema")),
            "gone": (generate(model=contract.name("models")), GONE),
            "word": (generate(model="nonsense"), invalid("BAD_MODEL_NAME", "model")),
            "half": (generate(model=f"icl:{docs}"), invalid("BAD_MODEL_NAME", "model")),
            "alias": (generate(model="bot@prod"), GONE),
            "data": (generate(model=f"icl:none@{small}"), GONE),
            "base": (generate(model=f"rag:{docs}@none"), GONE),
            "study": (generate(model="auto:none"), GONE),
            "parent": (generate(model=f"icl:{docs}@{small}", parent=""), invalid("NO_PARENT", "parent")),
            "context": (generate(context=contract.name("contexts")), GONE),
            "contexts": (generate(**read), invalid("TWO_CONTEXTS", "context")),
            "too large": (generate(prompts=["a" * (5 << 20)]), ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", [])),
            "one stream": (lambda: contract.stubs.inference.StreamGenerate(both), invalid("ONE_PROMPT", "prompts")),
            "no items": (score(), broken("items")),
            "no choice": (score(item(prompt="a")), broken("items[0].choices")),
            "blank": (score(item(prompt="a", choices=["b", ""])), invalid("EMPTY_CHOICE", "items[0].choices[1]")),
            "count": (lambda: contract.stubs.inference.CountTokens(count), GONE),
        }
    )  # fmt: skip


def test_making(contract: Contract) -> None:
    parent, data, probes, model = (
        contract.parent,
        contract.documents.name,
        contract.probes.name,
        contract.model.name,
    )
    no_data, no_model = contract.name("datasets"), contract.name("models")
    stubs, weighted = contract.stubs, trainer_pb2.WeightedDataset
    no_rows: Refusal = ("NOT_FOUND", "DATASET_NOT_FOUND", [])

    def imported(**fields: Any) -> Any:
        return lambda: contract.made(
            stubs.trainer.ImportModel(trainer_pb2.ImportModelRequest(parent=parent, **fields))
        )

    def trained(**fields: Any) -> Any:
        spec = trainer_pb2.TrainingSpec(
            **{"base_model": model, "datasets": [weighted(dataset=data)], **fields}
        )
        request = trainer_pb2.CreateModelRequest(parent=parent, training=spec)
        return lambda: contract.made(stubs.trainer.CreateModel(request))

    def augmented(**fields: Any) -> Any:
        spec = augmenter_pb2.AugmentationSpec(**{"dataset": data, "model": model, **fields})
        return lambda: stubs.augmenter.AugmentDataset(
            augmenter_pb2.AugmentDatasetRequest(parent=parent, spec=spec)
        )

    def previewed(**fields: Any) -> Any:
        spec = augmenter_pb2.AugmentationSpec(**{"dataset": data, "model": model, **fields})
        request = augmenter_pb2.PreviewAugmentationRequest(parent=parent, spec=spec)
        return lambda: stubs.augmenter.PreviewAugmentation(request)

    def held(**fields: Any) -> Any:
        context = inference_pb2.Context(**{"model": model, "dataset": data, **fields})
        return lambda: stubs.inference.CreateContext(
            inference_pb2.CreateContextRequest(parent=parent, context=context)
        )

    def batch(**fields: Any) -> Any:
        asked = batches_pb2.Batch(**{"model": model, "dataset": probes, **fields})
        return lambda: stubs.batches.CreateBatch(batches_pb2.CreateBatchRequest(parent=parent, batch=asked))

    def evaluated(model: str = model, probes: str = probes) -> Any:
        wanted = evaluator_pb2.Evaluation(subject=evaluator_pb2.Subject(model=model), probes=probes)
        request = evaluator_pb2.CreateEvaluationRequest(parent=parent, evaluation=wanted)
        return lambda: stubs.evaluator.CreateEvaluation(request)

    def study(**fields: Any) -> Any:
        spec = studies_pb2.StudySpec(
            **{"dataset": data, "probes": probes, "model": model, "methods": ["base"], **fields}
        )
        request = studies_pb2.CreateStudyRequest(parent=parent, study=studies_pb2.Study(spec=spec))
        return lambda: contract.made(stubs.studies.CreateStudy(request))

    def withdrawn(*rows: str, name: str = data) -> Any:
        request = datasets_pb2.WithdrawRowsRequest(name=name, row_ids=rows)
        return lambda: contract.made(stubs.datasets.WithdrawRows(request))

    contract.check(
        {
            "import: nothing": (imported(), invalid("ONE_SOURCE", "source_uri")),
            "import: scheme": (imported(source_uri="ftp://a"), broken("source_uri")),
            "import: id": (imported(source_uri="bundled://small", model_id="A"), broken("model_id")),
            "import: gone": (imported(source_uri="bundled://other"), ("NOT_FOUND", "SOURCE_NOT_FOUND", [])),
            "train: empty": (trained(base_model="", datasets=[]), broken("training.base_model", "training.datasets")),
            "train: name": (trained(datasets=[weighted(dataset="a")]), broken("training.datasets[0].dataset")),
            "train: base": (trained(base_model=no_model), GONE),
            "train: data": (trained(datasets=[weighted(dataset=no_data)], max_steps=1), no_rows),
            "train: rate": (trained(learning_rate=-1), broken("training.learning_rate")),
            "train: ends": (trained(max_steps=5, max_tokens=5), invalid("TOKENS_AND_STEPS", "training.max_tokens")),
            "augment: no model": (augmented(model=""), invalid("NO_MODEL", "spec.model")),
            "augment: model": (augmented(model=no_model), GONE),
            "augment: strategy": (augmented(strategies=["invent"]), invalid("UNKNOWN_STRATEGY", "spec.strategies[0]")),
            "augment: samples": (augmented(samples_per_document=65), broken("spec.samples_per_document")),
            "augment: probes": (augmented(dataset=probes), invalid("NOT_DOCUMENTS", "spec.dataset")),
            "augment: prompts": (augmented(prompt_set="mine"), invalid("UNKNOWN_PROMPT_SET", "spec.prompt_set")),
            "preview: data": (previewed(dataset=no_data), GONE),
            "preview: strategy": (previewed(strategies=["invent"]), invalid("UNKNOWN_STRATEGY", "spec.strategies[0]")),
            "context: data": (held(dataset=no_data), GONE),
            "context: model": (held(model=no_model), GONE),
            "context: probes": (held(dataset=probes), invalid("NOT_DOCUMENTS", "context.dataset")),
            "batch: data": (batch(dataset=no_data), GONE),
            "batch: model": (batch(model=no_model), GONE),
            "batch: documents": (batch(dataset=data), invalid("NOT_PROMPTS", "batch.dataset")),
            "evaluate: probes": (evaluated(probes=no_data), GONE),
            "evaluate: model": (evaluated(model=no_model), GONE),
            "evaluate: empty": (evaluated(probes=""), broken("evaluation.probes")),
            "study: empty": (study(dataset="", model=""), broken("study.spec.dataset", "study.spec.model")),
            "study: method": (study(methods=["base", "magic"]), invalid("UNKNOWN_METHOD", "study.spec.methods[1]")),
            "study: data": (study(dataset=no_data), GONE),
            "study: model": (study(model=no_model), GONE),
            "withdraw: none": (withdrawn(), broken("row_ids")),
            "withdraw: unknown": (withdrawn("d9"), ("NOT_FOUND", "ROW_NOT_FOUND", [])),
            "withdraw: all": (withdrawn("d0", "d1", "d2"), invalid("NOTHING_LEFT", "row_ids")),
            "withdraw: gone": (withdrawn("d0", name=no_data), GONE),
        }
    )  # fmt: skip


def test_aliases_and_their_gates(contract: Contract) -> None:
    parent, model, tag = contract.parent, contract.model.name, contract.tag
    wanted = evaluator_pb2.Evaluation(subject=evaluator_pb2.Subject(model=model), probes=contract.probes.name)
    request = evaluator_pb2.CreateEvaluationRequest(parent=parent, evaluation=wanted)
    evaluation = contract.made(contract.stubs.evaluator.CreateEvaluation(request)).name

    def promoted(**fields: Any) -> Any:
        request = {"name": contract.name("aliases", f"gated-{tag}"), "target": model, **fields}
        return lambda: contract.stubs.aliases.PromoteAlias(aliases_pb2.PromoteAliasRequest(**request))

    def gate(probes: str = contract.probes.name, **least: float) -> Any:
        return {"gate": aliases_pb2.Gate(probes=probes, least=least)}

    reading, other = f"icl:docs-{tag}@small-{tag}", too_early("EVALUATION_OF_ANOTHER_SUBJECT")
    back = aliases_pb2.RollBackAliasRequest(name=contract.name("aliases", f"gated-{tag}"))
    nothing = aliases_pb2.RollBackAliasRequest(name=contract.name("aliases"))
    contract.check(
        {
            "name": (promoted(name=contract.name("aliases", "Bot")), broken("name")),
            "target": (promoted(target="nonsense"), invalid("BAD_MODEL_NAME", "model")),
            "gone": (promoted(target=contract.name("models")), too_early("ALIAS_TARGET_GONE")),
            "data gone": (promoted(target=f"icl:none@small-{tag}"), too_early("ALIAS_TARGET_GONE")),
            "elsewhere": (promoted(target="projects/other/models/m"), invalid("OTHER_PROJECT", "target")),
            "no evaluation": (promoted(**gate(reversal=0)), too_early("NO_EVALUATION")),
            "below": (promoted(evaluation=evaluation, **gate(reversal=1.1)), too_early("BELOW_GATE")),
            "kind": (promoted(evaluation=evaluation, **gate(other=0)), too_early("GATE_KIND_NOT_MEASURED")),
            "no kind": (promoted(evaluation=evaluation, **gate()), broken("gate.least")),
            "documents": (
                promoted(evaluation=evaluation, **gate(contract.documents.name, reversal=0)),
                invalid("NOT_PROBES", "gate.probes"),
            ),
            "subject": (promoted(target=reading, evaluation=evaluation), other),
            "evaluation": (
                promoted(evaluation=contract.name("evaluations"), **gate(reversal=0)),
                too_early("EVALUATION_GONE"),
            ),
            "nothing before": (lambda: contract.stubs.aliases.RollBackAlias(nothing), GONE),
            "passed": (promoted(evaluation=evaluation, **gate(reversal=0)), ("OK", "", [])),
            "first": (lambda: contract.stubs.aliases.RollBackAlias(back), too_early("NOTHING_BEFORE")),
            "etag": (promoted(etag="another"), ("ABORTED", "ALIAS_CHANGED", [])),
        }
    )


def test_models_that_are_not_trained(contract: Contract) -> None:
    trainer, model, gone = contract.stubs.trainer, contract.model.name, contract.name("models")
    part = trainer_pb2.UploadModelPartHeader(
        parent=contract.parent, upload_id=f"u-{'0' * 40}", file_name="a", sha256="0" * 64
    )
    header = trainer_pb2.UploadModelRequest(header=trainer_pb2.UploadModelHeader(parent=contract.parent))
    chunk, finish = trainer_pb2.UploadModelRequest(chunk=b"a"), trainer_pb2.FinishModelUploadRequest
    missing: Refusal = ("NOT_FOUND", "UPLOAD_NOT_FOUND", [])
    ended = too_early("TRAINING_NOT_RUNNING")
    contract.check(
        {
            "pause": (lambda: trainer.PauseTraining(trainer_pb2.PauseTrainingRequest(name=model)), ended),
            "resume": (lambda: trainer.ResumeTraining(trainer_pb2.ResumeTrainingRequest(name=model)), ended),
            "watch": (lambda: trainer.WatchTraining(trainer_pb2.WatchTrainingRequest(name=gone)), GONE),
            "log": (lambda: trainer.ReadTrainingLog(trainer_pb2.ReadTrainingLogRequest(name=gone)), GONE),
            "files": (lambda: trainer.DownloadModel(trainer_pb2.DownloadModelRequest(name=gone)), GONE),
            "part": (lambda: trainer.UploadModelPart(iter([trainer_pb2.UploadModelPartRequest(header=part)])), missing),
            "whole": (
                lambda: contract.made(trainer.FinishModelUpload(finish(parent=contract.parent, upload_id=part.upload_id))),
                missing,
            ),
            "no header": (lambda: trainer.UploadModel(iter(())), invalid("HEADER_MISSING", "header")),
            "no files": (lambda: trainer.UploadModel(iter([header])), invalid("NO_FILES", "file_name")),
            "no name": (lambda: trainer.UploadModel(iter([header, chunk])), invalid("CHUNK_WITHOUT_FILE", "chunk")),
        }
    )  # fmt: skip
    watched = list(trainer.WatchTraining(trainer_pb2.WatchTrainingRequest(name=model)))
    assert watched == []


def test_projects_and_keys(contract: Contract) -> None:
    projects, keys, id = contract.stubs.projects, contract.stubs.keys, f"project-{contract.tag}"

    def create(id: str) -> Any:
        return lambda: projects.CreateProject(projects_pb2.CreateProjectRequest(project_id=id))

    def key(parent: str = contract.parent, scopes: tuple[int, ...] = ()) -> Any:
        request = projects_pb2.CreateKeyRequest(parent=parent, key=projects_pb2.Key(scopes=scopes))
        return lambda: keys.CreateKey(request)

    get = lambda name: lambda: projects.GetProject(projects_pb2.GetProjectRequest(name=name))  # noqa: E731
    delete = lambda name: lambda: projects.DeleteProject(projects_pb2.DeleteProjectRequest(name=name))  # noqa: E731
    contract.check(
        {
            "id": (create("A"), broken("project_id")),
            "made": (create(id), ("OK", "", [])),
            "taken": (create(id), TAKEN),
            "gone": (get("projects/nowhere"), GONE),
            "key elsewhere": (key("projects/nowhere"), GONE),
            "scope twice": (key(scopes=(1, 1)), broken("key.scopes")),
            "no scope": (key(scopes=(0,)), broken("key.scopes[0]")),
            "unknown scope": (key(scopes=(9,)), broken("key.scopes[0]")),
            "deleted": (delete(f"projects/{id}"), ("OK", "", [])),
            "deleted again": (delete(f"projects/{id}"), GONE),
            "default": (delete("projects/default"), too_early("DEFAULT_PROJECT")),
        }
    )
    listed = projects.ListProjects(projects_pb2.ListProjectsRequest()).projects
    assert "projects/default" in {project.name for project in listed}
    revoked = projects_pb2.RevokeKeyRequest(name=contract.name("keys"))
    assert contract.refusal(lambda: keys.RevokeKey(revoked)) == GONE
