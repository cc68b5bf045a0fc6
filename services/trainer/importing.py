"""ImportModel and UploadModel as operations."""

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.worker import Task
from services.trainer import imports
from services.trainer.endpoints import fill, wanted_endpoint
from services.trainer.exchange import model_key
from services.trainer.inspection import inspect_folder
from services.trainer.models import Model, Models
from services.trainer.settings import TrainerSettings


class Importing:
    """Base models on their way in."""

    def __init__(self, settings: TrainerSettings, models: Models) -> None:
        self.settings = settings
        self.models = models

    async def estimate(self, request: trainer_pb2.ImportModelRequest) -> common_pb2.Estimate:
        """Fetches and inspects the source, keeps nothing."""
        if endpoint := wanted_endpoint(request):
            note = f"{endpoint.base_url} answers for the model; nothing is fetched, and it is asked when you ask."
            return common_pb2.Estimate(notes=[note])
        async with imports.opened(request.source_uri, self.settings) as (folder, source):
            found = inspect_folder(folder)
        return common_pb2.Estimate(
            worker_memory_bytes=4 * found.parameter_count,
            notes=[
                f"{source} is a {found.architecture} of {found.parameter_count} parameters with a window of "
                f"{found.context_window} tokens, {'with' if found.chat_template else 'without'} a chat template.",
                "Memory: its weights in float32.",
            ],
        )

    async def import_model(self, task: Task, request: trainer_pb2.ImportModelRequest) -> Model:
        """Handler: fetch, inspect, publish."""
        if endpoint := wanted_endpoint(request):
            model = await self.models.rows.get(task.target)
            fill(model, endpoint)
            return model
        await task.progress("fetching", message=request.source_uri)
        model = await self.models.rows.get(task.target)
        async with imports.opened(request.source_uri, self.settings) as (folder, source):
            await task.progress("storing", message=source)
            model.source = source
            return await self.models.take_in(model, folder, model_key(task.prefix))

    async def upload_model(self, task: Task, request: trainer_pb2.UploadModelHeader) -> Model:
        """Handler: the call itself has inspected and published the files, the row says where."""
        return await self.models.rows.get(task.target)
