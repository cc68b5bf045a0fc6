"""Step -> the request that makes its resource, and the call that sends it."""

from collections.abc import Mapping
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.message import Message

from ingrain import AsyncClient
from ingrain.v1 import augmenter_pb2, common_pb2, evaluator_pb2, trainer_pb2
from servicekit.amounts import sum_of
from services.studies.plan import Step


def create_request(
    step: Step,
    parent: str,
    names: Mapping[str, str],
    id: str = "",
    request_id: str = "",
    validate_only: bool = False,
) -> Message:
    """`names`: role -> resource name, for every role in `step.inputs`."""
    common = {"parent": parent, "request_id": request_id, "validate_only": validate_only}
    if step.kind == "augment":
        spec = augmenter_pb2.AugmentationSpec()
        spec.CopyFrom(step.settings)
        spec.dataset, spec.model = names["documents"], names["model"]
        if "judge" in step.inputs:
            spec.gates.judge = names["judge"]
        return augmenter_pb2.AugmentDatasetRequest(dataset_id=id, spec=spec, **common)
    if step.kind == "train":
        training = trainer_pb2.TrainingSpec()
        training.CopyFrom(step.settings)
        training.base_model = names["model"]
        # The settings hold a weight for each dataset, in the order of the roles; a rehearsal may lack the last.
        present = [names[role] for role in step.inputs if role != "model" and role in names]
        del training.datasets[len(present) :]
        for weighted, name in zip(training.datasets, present, strict=True):
            weighted.dataset = name
        return trainer_pb2.CreateModelRequest(model_id=id, training=training, **common)
    evaluation = evaluator_pb2.Evaluation()
    evaluation.CopyFrom(step.settings)
    evaluation.subject.model, evaluation.probes = names["model"], names["probes"]
    if "judge" in step.inputs:
        evaluation.judge.model = names["judge"]
    if "documents" in names:
        evaluation.subject.context.dataset = names["documents"]
    return evaluator_pb2.CreateEvaluationRequest(evaluation_id=id, evaluation=evaluation, **common)


async def create(client: AsyncClient, step: Step, request: Message) -> operations_pb2.Operation:
    method = {
        "augment": client.stubs.augmenter.AugmentDataset,
        "train": client.stubs.trainer.CreateModel,
        "evaluate": client.stubs.evaluator.CreateEvaluation,
    }[step.kind]
    return await method(request)


async def get(client: AsyncClient, step: Step, name: str) -> Any:
    """The resource. Raises NotFound."""
    collections = {
        "datasets": client.datasets,
        "models": client.models,
        "evaluations": client.evaluations,
    }
    return await collections[step.collection].get(name)


def cost_of(step: Step, resource: Any) -> common_pb2.Cost:
    """What making the resource took; leaving rows out asks no model."""
    if step.kind == "exclude":
        return common_pb2.Cost()
    if step.kind == "augment":
        return resource.provenance.cost
    if step.kind == "train":
        return resource.summary.cost
    return whole_cost(resource)


def whole_cost(evaluation: evaluator_pb2.Evaluation) -> common_pb2.Cost:
    """What answering took, and what judging the answers took."""
    return sum_of(evaluation.cost, evaluation.judge_cost)
