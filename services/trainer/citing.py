"""Which data a model was made of, for its card: as the platform describes it at the time of reading."""

from typing import Any

from ingrain import errors
from ingrain.v1 import datasets_pb2, trainer_pb2
from servicekit.peers import gateway_client
from services.trainer.datasource import named_datasets
from services.trainer.settings import TrainerSettings


async def cited(
    spec: trainer_pb2.TrainingSpec, project: str, settings: TrainerSettings
) -> list[dict[str, Any]]:
    """Name and use of each dataset that the spec names, with weight, rows and digest where they are known."""
    client = gateway_client(settings, project)
    weights = {data.dataset: data.weight or 1.0 for data in spec.datasets}
    found = []
    for field, name in named_datasets(spec):
        about: dict[str, Any] = {"name": name, "use": field}
        if field == "datasets":
            about["weight"] = weights[name]
        try:
            data = await client.stubs.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name=name))
        except errors.IngrainError:  # the rows were read, that is what the training needs
            pass
        else:
            about |= {"row_count": data.row_count, "sha256": data.sha256}
        found.append(about)
    return found
