"""Models that other servers answer for: nothing to fetch, nothing to train."""

import hashlib

from ingrain.v1 import trainer_pb2
from servicekit.addresses import base_url
from servicekit.errors import Invalid, WrongState

DEFAULT_WINDOW = 8192


def wanted_endpoint(request: trainer_pb2.ImportModelRequest) -> trainer_pb2.Endpoint | None:
    """With its defaults; None where files are imported. Invalid where both or neither are asked for."""
    if request.HasField("endpoint") == bool(request.source_uri):
        raise Invalid(
            "ONE_SOURCE",
            "Give either source_uri, where files lie, or endpoint, a server that answers for the model.",
            field="source_uri",
        )
    if not request.HasField("endpoint"):
        return None
    asked = request.endpoint
    return trainer_pb2.Endpoint(
        base_url=base_url(asked.base_url, "endpoint.base_url"),
        model_id=asked.model_id,
        api_key_ref=asked.api_key_ref,
        context_window=asked.context_window or DEFAULT_WINDOW,
    )


def fill(model: trainer_pb2.Model, endpoint: trainer_pb2.Endpoint) -> None:
    """What is known of it: the server's address and its name there are all that tells it from others."""
    model.endpoint.CopyFrom(endpoint)
    model.source = endpoint.base_url
    model.context_window = endpoint.context_window
    model.chat_template = True
    model.sha256 = hashlib.sha256(f"{endpoint.base_url}\n{endpoint.model_id}\n".encode()).hexdigest()


def refuse_training(model: trainer_pb2.Model) -> None:
    if model.HasField("endpoint"):
        raise WrongState(
            "MODEL_CANNOT_BE_TRAINED",
            f"{model.endpoint.base_url} answers for {model.name}; its weights are not here. "
            "Train from a model that was imported with its files.",
            model=model.name,
        )
