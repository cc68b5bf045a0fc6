"""Trainer: proto -> domain call -> proto."""

from collections.abc import AsyncIterator

import grpc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.v1 import trainer_pb2, trainer_pb2_grpc
from servicekit.errors import Invalid
from servicekit.identity import authorize
from servicekit.operations import Operations
from servicekit.resources import new_id
from services.trainer import in_place, pausing
from services.trainer.downloads import download
from services.trainer.endpoints import wanted_endpoint
from services.trainer.history import History
from services.trainer.importing import Importing
from services.trainer.logs import read_log
from services.trainer.models import Model, Models, shown
from services.trainer.settings import TrainerSettings
from services.trainer.training import Trainings
from services.trainer.uploads import upload

Context = grpc.aio.ServicerContext


class TrainerServicer(trainer_pb2_grpc.TrainerServicer):
    def __init__(
        self,
        settings: TrainerSettings,
        models: Models,
        operations: Operations,
        importing: Importing,
        trainings: Trainings,
        history: History,
    ) -> None:
        self.settings = settings
        self.models = models
        self.operations = operations
        self.importing = importing
        self.trainings = trainings
        self.history = history

    async def ImportModel(
        self, request: trainer_pb2.ImportModelRequest, context: Context
    ) -> operations_pb2.Operation:
        authorize(request.parent)
        in_place.refuse_unfit(request)
        model = new_model(request.parent, request.model_id, request.display_name)
        if request.validate_only:
            estimate = await self.importing.estimate(request)
            return self.operations.done_with_estimate(model.name, "ImportModel", estimate)
        endpoint = wanted_endpoint(request)
        model.source = endpoint.base_url if endpoint else request.source_uri
        return await self.operations.start("ImportModel", request, model, request_id=request.request_id)

    async def UploadModel(
        self, request_iterator: AsyncIterator[trainer_pb2.UploadModelRequest], context: Context
    ) -> operations_pb2.Operation:
        first = await anext(aiter(request_iterator), trainer_pb2.UploadModelRequest())
        if not first.HasField("header"):
            raise Invalid("HEADER_MISSING", "The first message must be the header.", field="header")
        authorize(first.header.parent)
        return await upload(first.header, request_iterator, self.models, self.operations, self.settings)

    async def StartModelUpload(
        self, request: trainer_pb2.StartModelUploadRequest, context: Context
    ) -> trainer_pb2.ModelUpload:
        authorize(request.parent)
        return await self.importing.uploads.start(request)

    async def UploadModelPart(
        self, request_iterator: AsyncIterator[trainer_pb2.UploadModelPartRequest], context: Context
    ) -> trainer_pb2.UploadModelPartResponse:
        first = await anext(aiter(request_iterator), trainer_pb2.UploadModelPartRequest())
        if not first.HasField("header"):
            raise Invalid("HEADER_MISSING", "The first message must be the header.", field="header")
        authorize(first.header.parent)
        size_bytes = await self.importing.uploads.take(first.header, request_iterator)
        return trainer_pb2.UploadModelPartResponse(size_bytes=size_bytes)

    async def FinishModelUpload(
        self, request: trainer_pb2.FinishModelUploadRequest, context: Context
    ) -> operations_pb2.Operation:
        authorize(request.parent)
        model = new_model(request.parent, request.model_id, request.display_name)
        model.source = "upload"
        await self.importing.uploads.refuse_unfinished(request.parent, request.upload_id)
        return await self.operations.start("FinishModelUpload", request, model, request_id=request.request_id)

    async def CreateModel(
        self, request: trainer_pb2.CreateModelRequest, context: Context
    ) -> operations_pb2.Operation:
        authorize(request.parent)
        model = new_model(request.parent, request.model_id, request.display_name)
        if request.validate_only:
            estimate = await self.trainings.estimate(request)
            return self.operations.done_with_estimate(model.name, "CreateModel", estimate)
        await self.trainings.check(request)
        model.base_model = request.training.base_model
        model.training.CopyFrom(request.training)
        return await self.operations.start("CreateModel", request, model, request_id=request.request_id)

    async def GetModel(self, request: trainer_pb2.GetModelRequest, context: Context) -> Model:
        authorize(request.name)
        return shown(await self.models.rows.get(request.name))

    async def ListModels(
        self, request: trainer_pb2.ListModelsRequest, context: Context
    ) -> trainer_pb2.ListModelsResponse:
        authorize(request.parent)
        page, token = await self.models.rows.list(request.parent, request.page_size, request.page_token)
        return trainer_pb2.ListModelsResponse(models=map(shown, page), next_page_token=token)

    async def DeleteModel(self, request: trainer_pb2.DeleteModelRequest, context: Context) -> empty_pb2.Empty:
        authorize(request.name)
        await self.models.delete(request.name)
        return empty_pb2.Empty()

    async def PauseTraining(self, request: trainer_pb2.PauseTrainingRequest, context: Context) -> Model:
        authorize(request.name)
        return shown(await pausing.pause(self.models, request.name))

    async def ResumeTraining(self, request: trainer_pb2.ResumeTrainingRequest, context: Context) -> Model:
        authorize(request.name)
        model = await pausing.resume(self.models, request)
        await self.operations.wake(model.name)
        return shown(model)

    async def DownloadModel(
        self, request: trainer_pb2.DownloadModelRequest, context: Context
    ) -> AsyncIterator[trainer_pb2.DownloadModelResponse]:
        authorize(request.name)
        async for piece in download(request, self.models, self.settings):
            yield piece

    async def WatchTraining(
        self, request: trainer_pb2.WatchTrainingRequest, context: Context
    ) -> AsyncIterator[trainer_pb2.TrainingSnapshot]:
        authorize(request.name)
        async for snapshot in self.history.watch(request.name, request.start_step):
            yield snapshot

    async def ReadTrainingLog(
        self, request: trainer_pb2.ReadTrainingLogRequest, context: Context
    ) -> AsyncIterator[trainer_pb2.ReadTrainingLogResponse]:
        authorize(request.name)
        await self.models.rows.get(request.name)
        async for lines in read_log(self.models.storage, request.name):
            yield lines


def new_model(parent: str, model_id: str, display_name: str) -> Model:
    return Model(name=f"{parent}/models/{model_id or new_id('model')}", display_name=display_name)
