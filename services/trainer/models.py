"""Models as resources: finding, showing, hiding, and taking in what an importer brings."""

from pathlib import Path

from ingrain.v1 import common_pb2, trainer_pb2
from servicekit.errors import WrongState
from servicekit.identity import is_service
from servicekit.resources import Resources
from servicekit.storage import Storage
from services.trainer import files
from services.trainer.inspection import Inspection, inspect_folder
from services.trainer.sweeping import sweep

Model = trainer_pb2.Model
CREATING, ACTIVE, FAILED = common_pb2.CREATING, common_pb2.ACTIVE, common_pb2.FAILED
IN_THE_MAKING = (CREATING, common_pb2.VERIFYING)


class Models:
    """The rows of models/ and their files."""

    def __init__(self, rows: Resources[Model], storage: Storage) -> None:
        self.rows = rows
        self.storage = storage

    async def usable(self, name: str) -> Model:
        """An ACTIVE model with its files; WrongState otherwise."""
        model = await self.rows.get(name)
        if model.state != ACTIVE:
            raise WrongState(
                "MODEL_NOT_ACTIVE",
                f"{name} is {'still being made' if model.state in IN_THE_MAKING else 'failed'}; "
                "only an ACTIVE model can be used.",
                model=name,
            )
        return model

    async def delete(self, name: str) -> None:
        """Hides the model, and takes away what a failed training left. WrongState while it is made, or while others need it."""
        model = await self.rows.get(name)
        if model.state in IN_THE_MAKING:
            raise WrongState(
                "MODEL_CREATING", f"{name} is being made; cancel its operation first.", model=name
            )
        if other := await self.needing(name):
            making = other.state in IN_THE_MAKING
            raise WrongState(
                "MODEL_IN_USE",
                f"{other.name} is being trained from {name}; wait for it, or cancel its operation first."
                if making
                else f"{other.name} is an adapter of {name} and cannot be used without it; delete it first.",
                model=name,
                **({"training": other.name} if making else {"adapter": other.name}),
            )
        await self.rows.delete(name)
        if model.state == FAILED:
            await sweep(self.storage, name)

    async def needing(self, base: str) -> Model | None:
        """One that is nothing without `base`: an adapter of it, or what is being trained from it."""
        parent, token = base.rsplit("/models/", 1)[0], ""
        while True:
            page, token = await self.rows.list(parent, 1000, token)
            for model in page:
                made_of_it = model.state in IN_THE_MAKING or (model.adapter and model.state == ACTIVE)
                if model.base_model == base and made_of_it:
                    return model
            if not token:
                return None

    async def take_in(self, model: Model, folder: Path, prefix: str) -> Model:
        """Inspects the folder, publishes it under `prefix` and fills in what it is."""
        found = inspect_folder(folder)
        wanted = await files.publish(
            self.storage, prefix, folder, {"model": model.name, "source": model.source}
        )
        return self.filled(model, found, wanted, self.storage.uri(prefix))

    def filled(self, model: Model, found: Inspection, stored: list[files.ModelFile], uri: str) -> Model:
        model.architecture = found.architecture
        model.parameter_count = found.parameter_count
        model.context_window = found.context_window
        model.chat_template = found.chat_template
        model.domain = found.domain
        model.layer_count = found.layer_count
        model.hidden_size = found.hidden_size
        model.uri = uri
        model.sha256 = files.digest(stored)
        model.size_bytes = sum(file.size_bytes for file in stored)
        return model


def shown(model: Model) -> Model:
    """As the caller may see it: where the files lie is for services."""
    if is_service():
        return model
    blanked = Model()
    blanked.CopyFrom(model)
    blanked.uri = ""
    return blanked
