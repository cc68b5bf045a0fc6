"""/v1/models: what can be asked, by the names that can be asked for."""

from typing import Any

from aiohttp import web

from ingrain.v1 import (
    aliases_pb2,
    common_pb2,
    datasets_pb2,
    studies_pb2,
    trainer_pb2,
)
from servicekit.errors import Invalid
from services.gateway.http.backends import Asked
from services.gateway.http.calls import Door
from services.gateway.http.names import model_name, short

TRAINER, ALIASES = "/ingrain.v1.Trainer", "/ingrain.v1.Aliases"
DATASETS, STUDIES = "/ingrain.v1.Datasets", "/ingrain.v1.Studies"


class ModelsHandler:
    def __init__(self, door: Door) -> None:
        self._door = door

    async def list(self, request: web.Request) -> web.Response:
        """ACTIVE models and aliases of the project, newest first each. Virtual names are not listed: there is one for each
        dataset and model."""
        async with self._door.admitted(request, f"{TRAINER}/ListModels") as asked:
            models = trainer_pb2.ListModelsRequest(parent=asked.parent)
            found = [
                described(short(asked.parent, model.name), model.create_time.ToSeconds(), model.name)
                async for model in asked.pages(
                    f"{TRAINER}/ListModels", models, trainer_pb2.ListModelsResponse, "models"
                )
                if model.state == common_pb2.ACTIVE
            ]
            aliases = aliases_pb2.ListAliasesRequest(parent=asked.parent)
            found += [
                described(short(asked.parent, alias.name), alias.update_time.ToSeconds(), alias.name)
                async for alias in asked.pages(
                    f"{ALIASES}/ListAliases", aliases, aliases_pb2.ListAliasesResponse, "aliases"
                )
            ]
        return web.json_response({"object": "list", "data": found})

    async def get(self, request: web.Request) -> web.Response:
        asked_for = request.match_info["model"]
        async with self._door.admitted(request, f"{TRAINER}/GetModel") as asked:
            created = await created_at(asked, model_name(asked.parent, asked_for))
            return web.json_response(described(asked_for, created, asked.parent + "/"))


def described(name: str, created: int, owned: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owned.split("/")[1]}


async def created_at(asked: Asked, name: str) -> int:
    """When that came to be which the name stands for, in seconds; NotFound where a part of it is missing."""
    kind, colon, rest = name.partition(":")
    if not colon:
        if "/aliases/" in name or "@" in name:
            full = name if "/" in name else f"{asked.parent}/aliases/{name}"
            alias = aliases_pb2.GetAliasRequest(name=full)
            found = await asked.unary(f"{ALIASES}/GetAlias", alias, aliases_pb2.Alias)
            return found.update_time.ToSeconds()
        model = trainer_pb2.GetModelRequest(name=name)
        return (await asked.unary(f"{TRAINER}/GetModel", model, trainer_pb2.Model)).create_time.ToSeconds()
    if kind == "auto":
        study = studies_pb2.GetStudyRequest(name=_full(asked.parent, "studies", rest))
        return (await asked.unary(f"{STUDIES}/GetStudy", study, studies_pb2.Study)).create_time.ToSeconds()
    dataset_id, at, model_id = rest.partition("@")
    if kind not in ("icl", "rag") or not at:
        raise Invalid(
            "BAD_MODEL_NAME",
            f"{name[:200]!r} is no model: expected a model, icl:<dataset>@<model>, rag:<dataset>@<model>, auto:<study> or "
            "an alias",
            field="model",
        )
    dataset = datasets_pb2.GetDatasetRequest(name=_full(asked.parent, "datasets", dataset_id))
    read = await asked.unary(f"{DATASETS}/GetDataset", dataset, datasets_pb2.Dataset)
    model = trainer_pb2.GetModelRequest(name=_full(asked.parent, "models", model_id))
    reader = await asked.unary(f"{TRAINER}/GetModel", model, trainer_pb2.Model)
    return max(read.create_time.ToSeconds(), reader.create_time.ToSeconds())


def _full(parent: str, collection: str, name: str) -> str:
    return name if name.startswith("projects/") else f"{parent}/{collection}/{name}"
