"""The Evaluator service."""

import json
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf import empty_pb2

from ingrain.v1 import datasets_pb2, evaluator_pb2_grpc
from ingrain.v1 import evaluator_pb2 as pb
from servicekit import identity
from servicekit.errors import Invalid
from servicekit.operations import Operations
from servicekit.peers import gateway_client
from servicekit.resources import new_id
from services.evaluator.compare import differences
from services.evaluator.estimate import estimate, judging_note
from services.evaluator.inputs import inputs, read_probes
from services.evaluator.judging import RUBRIC
from services.evaluator.run import Evaluations
from services.evaluator.writing.estimate import estimate as writing_estimate
from services.evaluator.writing.generate import Writing, read_pools
from services.evaluator.writing.generate import inputs as writing_inputs
from services.evaluator.writing.probesets import COLLECTION

MESSAGE_BYTES = 900_000


class EvaluatorServicer(evaluator_pb2_grpc.EvaluatorServicer):
    def __init__(self, evaluations: Evaluations, writing: Writing, operations: Operations) -> None:
        self.evaluations = evaluations
        self.writing = writing
        self.operations = operations

    async def GenerateProbes(self, request: pb.GenerateProbesRequest, context: Any) -> Any:
        project = identity.authorize(request.parent)
        name = f"{request.parent}/{COLLECTION}/{request.dataset_id or new_id('probes')}"
        client = gateway_client(self.evaluations.settings, project)
        found = await writing_inputs(client, request.spec)
        if request.validate_only:
            expected = await writing_estimate(client, found, await read_pools(client, request.spec))
            return self.operations.done_with_estimate(name, "GenerateProbes", expected)
        await self.writing.refuse_taken(client, name)
        return await self.operations.start(
            "GenerateProbes", request, datasets_pb2.Dataset(name=name), request_id=request.request_id
        )

    async def CreateEvaluation(self, request: pb.CreateEvaluationRequest, context: Any) -> Any:
        project = identity.authorize(request.parent)
        given = request.evaluation
        template = given.question_template
        if template and "{question}" not in template:
            raise Invalid(
                "BAD_TEMPLATE",
                "question_template has no {question} in it",
                field="evaluation.question_template",
            )
        evaluation = pb.Evaluation(
            name=f"{request.parent}/evaluations/{request.evaluation_id or new_id('evaluation')}",
            subject=given.subject,
            probes=given.probes,
            cluster_key=given.cluster_key,
            question_template=template,
            asking=given.asking or pb.Evaluation.CHOICE,
            judge=pb.Judge(model=given.judge.model, rubric=given.judge.rubric or RUBRIC)
            if given.HasField("judge")
            else None,
        )
        client = gateway_client(self.evaluations.settings, project)
        # What is wrong with the request is said now, not by an operation that fails later.
        found = await inputs(client, given)
        if found.model.HasField("endpoint"):  # what it cannot do depends on the probes
            await read_probes(client, given, found)
        if request.validate_only:
            probes = await read_probes(client, given, found)
            expected = await estimate(client, found.model, probes, given.subject.HasField("context"))
            if given.HasField("judge"):
                expected.notes.append(await judging_note(client, given.judge, probes))
            return self.operations.done_with_estimate(evaluation.name, "CreateEvaluation", expected)
        return await self.operations.start(
            "CreateEvaluation", request, evaluation, request_id=request.request_id
        )

    async def GetEvaluation(self, request: pb.GetEvaluationRequest, context: Any) -> pb.Evaluation:
        identity.authorize(request.name)
        return shown(await self.evaluations.resources.get(request.name))

    async def ListEvaluations(
        self, request: pb.ListEvaluationsRequest, context: Any
    ) -> pb.ListEvaluationsResponse:
        identity.authorize(request.parent)
        found, token = await self.evaluations.resources.list(
            request.parent, request.page_size, request.page_token
        )
        for evaluation in found:
            evaluation.ClearField("contexts")  # of a thousand groups a page of them would fit no message
        return pb.ListEvaluationsResponse(evaluations=map(shown, found), next_page_token=token)

    async def DeleteEvaluation(self, request: pb.DeleteEvaluationRequest, context: Any) -> empty_pb2.Empty:
        identity.authorize(request.name)
        await self.evaluations.resources.delete(request.name)
        return empty_pb2.Empty()

    async def ReadResults(
        self, request: pb.ReadResultsRequest, context: Any
    ) -> AsyncIterator[pb.ReadResultsResponse]:
        identity.authorize(request.name)
        rows = await self.evaluations.results(request.name)
        batch, size = pb.ReadResultsResponse(start_row=request.start_row), 0
        for number, row in enumerate(rows[request.start_row :], start=request.start_row):
            line = json.dumps(row, ensure_ascii=False)
            line_bytes = len(line.encode())
            if batch.rows and size + line_bytes > MESSAGE_BYTES:
                yield batch
                batch, size = pb.ReadResultsResponse(start_row=number), 0
            batch.rows.append(line)
            size += line_bytes
        if batch.rows:
            yield batch

    async def CompareEvaluations(
        self, request: pb.CompareEvaluationsRequest, context: Any
    ) -> pb.CompareEvaluationsResponse:
        for name in (request.parent, request.baseline, *request.candidates):
            identity.authorize(name)
        baseline = await self.evaluations.results(request.baseline)
        response = pb.CompareEvaluationsResponse()
        for candidate in request.candidates:
            rows = await self.evaluations.results(candidate)
            response.differences.extend(
                differences(candidate, rows, baseline, request.seed, set(request.probe_ids))
            )
        return response


def shown(evaluation: pb.Evaluation) -> pb.Evaluation:
    """As the caller may see it: where the bytes lie is for services."""
    if not identity.is_service():
        evaluation.results_uri = ""
    return evaluation
