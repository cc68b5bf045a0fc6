"""The Augmenter service."""

import json
from typing import Any

from ingrain.v1 import augmenter_pb2 as pb
from ingrain.v1 import augmenter_pb2_grpc, common_pb2, datasets_pb2, inference_pb2
from servicekit import identity
from servicekit.contexts import ensure_context
from servicekit.errors import Invalid
from servicekit.operations import Operations
from servicekit.peers import gateway_client
from servicekit.resources import new_id
from services.augmenter.gates import Sieve
from services.augmenter.parsing import parsed
from services.augmenter.pipeline import Pipeline, model_of, usable_model
from services.augmenter.planning import Planned, asks_of, plan, sample_prompts
from services.augmenter.spec import Spec, require_model, resolve
from services.augmenter.strategies import Ask, Document
from services.augmenter.withdrawing import refuse_withdrawing_in

PREVIEW_DOCUMENTS = 3


class AugmenterServicer(augmenter_pb2_grpc.AugmenterServicer):
    def __init__(self, pipeline: Pipeline, operations: Operations) -> None:
        self.pipeline = pipeline
        self.operations = operations

    async def AugmentDataset(self, request: pb.AugmentDatasetRequest, context: Any) -> Any:
        project = identity.authorize(request.parent)
        identity.authorize(request.spec.dataset)
        spec = resolve(request.spec)
        dataset = datasets_pb2.Dataset(
            name=f"{request.parent}/datasets/{request.dataset_id or new_id('derived')}",
            display_name=f"derived from {request.spec.dataset.rsplit('/', 1)[1]}",
        )
        if request.validate_only:
            estimate = await self._estimate(project, request.spec, spec)
            return self.operations.done_with_estimate(dataset.name, "AugmentDataset", estimate)
        # What is wrong with the request is said now, not by an operation that fails later.
        await self.pipeline.documents(request.spec.dataset)
        require_model(request.spec, spec)
        await usable_model(gateway_client(self.pipeline.settings, project), request.spec, spec)
        return await self.operations.start(
            "AugmentDataset",
            request,
            dataset,
            request_id=request.request_id,
            check=lambda c: refuse_withdrawing_in(self.pipeline.datasets, c, request.spec.dataset),
        )

    async def PreviewAugmentation(
        self, request: pb.PreviewAugmentationRequest, context: Any
    ) -> pb.PreviewAugmentationResponse:
        project = identity.authorize(request.parent)
        identity.authorize(request.spec.dataset)
        spec = resolve(request.spec)
        client = gateway_client(self.pipeline.settings, project)
        _, documents = await self.pipeline.read(request.spec.dataset, spec)
        chosen = documents[: request.document_count or PREVIEW_DOCUMENTS]
        response = pb.PreviewAugmentationResponse()
        sieve = Sieve.over(documents, spec)
        for strategy in spec.strategies:
            asks = list(asks_of(spec, strategy, chosen))[: len(chosen)]
            if not asks:
                continue
            response.prompts[strategy] = shown_prompt(asks[0], documents)
            for ask in asks:
                output = await self._output(client, request.spec, spec, documents, ask)
                for statement in parsed(Planned(0, strategy, ask, 0), output):
                    if reason := sieve.reason_to_drop(statement, ask.documents):
                        response.dropped.add(reason=reason, text=statement, strategy=strategy)
                    else:
                        row = {"text": statement, "metadata": {"strategy": strategy}}
                        response.rows.append(json.dumps(row, ensure_ascii=False))
        return response

    async def _output(
        self, client: Any, given: pb.AugmentationSpec, spec: Spec, documents: list[Document], ask: Ask
    ) -> str:
        request = inference_pb2.GenerateRequest(
            model=given.model,
            prompts=[ask.prompt],
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            seed=spec.seed,
        )
        if spec.shuffled:  # documents that no dataset holds are read with the prompt
            request.prompts[0] = shown_prompt(ask, documents)
        elif ask.context_group is not None:
            selection = common_pb2.RowSelection(distinct_key=spec.distinct_key)
            if spec.group_key:
                selection.key, selection.value = spec.group_key, ask.context_group
            wanted = inference_pb2.Context(model=given.model, dataset=given.dataset, selection=selection)
            request.context = await ensure_context(client, wanted, "preview", "")
        answer = await client.stubs.inference.Generate(request)
        return str(answer.generations[0].text)

    async def _estimate(self, project: str, given: pb.AugmentationSpec, spec: Spec) -> common_pb2.Estimate:
        client = gateway_client(self.pipeline.settings, project)
        model = await model_of(client, given.model)
        _, documents = await self.pipeline.read(given.dataset, spec)
        planned = plan(spec, documents)
        if not planned:
            raise Invalid(
                "NOTHING_TO_ASK", "these strategies find nothing to ask about in the documents", field="spec"
            )
        sample = sample_prompts(planned)
        counted = await client.stubs.inference.CountTokens(
            inference_pb2.CountTokensRequest(model=given.model, texts=sample)
        )
        mean_tokens = sum(counted.token_counts) / max(1, len(sample))
        read, written = int(mean_tokens * len(planned)), len(planned) * spec.max_tokens
        cost = common_pb2.Cost(
            prompt_token_count=read,
            generated_token_count=written,
            flops=2.0 * model.parameter_count * (read + written),
        )
        notes = [
            f"{len(planned)} prompts of {mean_tokens:.0f} tokens on average (from {len(sample)} of them)",
            f"at most {spec.max_tokens} tokens are written for each; models mostly stop earlier",
            "contexts are read once per group and not counted here",
        ]
        return common_pb2.Estimate(cost=cost, row_count=len(documents), notes=notes)


def shown_prompt(ask: Ask, documents: list[Document]) -> str:
    if ask.context_group is None:
        return ask.prompt
    group = [document.text for document in documents if document.group == ask.context_group]
    return "\n".join(group) + "\n\n" + ask.prompt
