"""The Augmenter service."""

from typing import Any

from ingrain.v1 import augmenter_pb2 as pb
from ingrain.v1 import augmenter_pb2_grpc, common_pb2, datasets_pb2
from servicekit import identity
from servicekit.operations import Operations
from servicekit.peers import gateway_client
from servicekit.resources import new_id
from services.augmenter.estimating import Estimator
from services.augmenter.outputs import Outputs
from services.augmenter.pipeline import Pipeline, usable_model
from services.augmenter.previewing import Preview
from services.augmenter.rates import Rates
from services.augmenter.spec import Spec, require_model, resolve
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
        require_model(request.spec, spec)
        if request.validate_only:
            estimate = await self._estimate(project, request.spec, spec)
            return self.operations.done_with_estimate(dataset.name, "AugmentDataset", estimate)
        # What is wrong with the request is said now, not by an operation that fails later.
        await self.pipeline.documents(request.spec.dataset)
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
        require_model(request.spec, spec)
        client = gateway_client(self.pipeline.settings, project)
        _, documents = await self.pipeline.read(request.spec.dataset, spec)
        model = await usable_model(client, request.spec, spec)
        count = request.document_count or PREVIEW_DOCUMENTS
        return await Preview(client, request.spec, spec, model, documents, count).response()

    async def _estimate(self, project: str, given: pb.AugmentationSpec, spec: Spec) -> common_pb2.Estimate:
        client = gateway_client(self.pipeline.settings, project)
        model = await usable_model(client, given, spec)
        _, documents = await self.pipeline.read(given.dataset, spec)
        datasets = self.pipeline.datasets
        outputs = Outputs(datasets.resources.database, datasets.storage, project)
        rates = Rates(datasets.resources.database, project)
        estimator = Estimator(client, given, spec, model, documents, outputs, rates, self.pipeline.prices)
        return await estimator.estimate()
