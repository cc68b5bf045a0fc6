"""Calls on their way to one of vLLM's replicas, each to one that has read what it begins with: from the door and from the ingress alike."""

import hashlib
from dataclasses import dataclass
from typing import Any

from services.inference.settings import InferenceSettings
from services.inference.wire import GenerateCall, PrefillCall, ScoreCall

ROUTER = "ray.serve.llm.request_router.PrefixCacheAffinityRouter"
PART_CHARACTERS = 64  # of a prompt without context: as many are told apart from others at once
PARTS = 8


@dataclass(frozen=True)
class Routed:
    """A call on its way. Ray's PrefixCacheAffinityRouter reads `prompt` and compares beginnings."""

    prompt: str
    method: str
    call: Any


def sent(engines: Any, method: str, argument: Any) -> Any:
    """Serve's response to a method of an engine; `argument` is None where the method has none. `engines`: the replicas' handle."""
    if argument is None:
        return getattr(engines, method).remote()
    routed = Routed(beginning_of(argument), method, argument)
    # The router looks at positional arguments, and fails at a text without characters.
    return engines.ask.remote(routed) if routed.prompt else engines.ask.remote(routed=routed)


def sent_for_pieces(engines: Any, argument: Any) -> Any:
    routed = Routed(beginning_of(argument), "stream", argument)
    return engines.options(stream=True).pieces.remote(routed)


def beginning_of(call: Any) -> str:
    """What replicas are chosen by: model and context; without a context how the first prompt begins; empty where any will do.

    The router takes a text of which it knows a tenth for known. So nothing stands here as it is: digests of different models or contexts have
    nothing in common, and those of prompts as many parts as the prompts have.
    """
    if isinstance(call, ScoreCall | GenerateCall | PrefillCall) and call.context:
        return chained(call.model.key, [call.context.sha256])
    if isinstance(call, ScoreCall):
        return chained(call.model.key, parts_of(call.items[0][0]))
    if isinstance(call, GenerateCall):
        return chained(call.model.key, parts_of(str(call.prompts[0])))
    return ""


def parts_of(text: str) -> list[str]:
    return [text[at * PART_CHARACTERS :][:PART_CHARACTERS] for at in range(PARTS)]


def chained(begin: str, parts: list[str]) -> str:
    """A digest for each part, of it and all before; parts without characters have none, but the first."""
    digests = [hashlib.sha256(begin.encode()).hexdigest()]
    for number, part in enumerate(parts):
        if part or not number:
            digests.append(hashlib.sha256(f"{digests[-1]} {part}".encode()).hexdigest())
    return "".join(digests[1:])


def router_arguments(settings: InferenceSettings) -> dict[str, Any]:
    """A replica that has much more to do than another is passed over; of what was read long ago nothing is remembered."""
    return {"imbalanced_threshold": settings.replica_load, "do_eviction": True}
