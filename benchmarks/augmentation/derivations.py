"""A derivation over the platform, from the request until its dataset can be used, and the prompts that it asks."""

import time
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import augmenter_pb2, datasets_pb2
from services.augmenter.documents import documents_of
from services.augmenter.planning import plan
from services.augmenter.spec import resolve

WAIT_S = 1800.0
Rows = list[dict[str, Any]]


async def derive(
    client: AsyncClient, model: str, name: str, rows: Rows, **spec: Any
) -> tuple[float, datasets_pb2.Dataset]:
    """Seconds, and what was made. The upload of the documents is not measured."""
    await client.datasets.upload(rows, id=name)
    began = time.perf_counter()
    operation = await client.datasets.augment(name, model, id=f"{name}-derived", **spec)
    made = await operation.result(WAIT_S)
    return time.perf_counter() - began, made


def prompts_of(rows: Rows, **spec: Any) -> list[str]:
    """As the model sees them, without what stands in its context."""
    resolved = resolve(augmenter_pb2.AugmentationSpec(dataset="d", model="m", **spec))
    planned = plan(resolved, documents_of(rows, resolved))
    return [item.ask.prompt for item in planned if item.text is None]
