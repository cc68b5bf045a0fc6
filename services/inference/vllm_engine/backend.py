"""vLLM's replicas, each question to one that has read what it begins with."""

from dataclasses import dataclass
from typing import Any

from services.inference.rayserve import RayServe
from services.inference.wire import GenerateCall, PrefillCall, ScoreCall

AFFINITY_CHARACTERS = 512  # of a prompt without context


@dataclass(frozen=True)
class Routed:
    """A call on its way. Ray's PrefixCacheAffinityRouter reads `prompt` and compares beginnings: a context is there by its
    digests, which is short and the same for all its questions."""

    prompt: str
    method: str
    call: Any


class VllmServe(RayServe):
    """The same application at the same place, with other replicas in it."""

    name = "ray serve llm + vllm"

    def _sent(self, method: str, argument: Any) -> Any:
        return self._engines().ask.remote(Routed(affinity_of(argument), method, argument))

    def _sent_for_pieces(self, argument: Any) -> Any:
        routed = Routed(affinity_of(argument), "stream", argument)
        return self._engines().options(stream=True).pieces.remote(routed)


def affinity_of(call: Any) -> str:
    """Model and context; without a context how the first prompt begins; empty where any replica will do."""
    if isinstance(call, ScoreCall | GenerateCall | PrefillCall) and call.context:
        return f"{call.model.key}/{call.context.sha256}"
    if isinstance(call, ScoreCall):
        return f"{call.model.key}/{call.items[0][0][:AFFINITY_CHARACTERS]}"
    if isinstance(call, GenerateCall):
        return f"{call.model.key}/{str(call.prompts[0])[:AFFINITY_CHARACTERS]}"
    return ""
