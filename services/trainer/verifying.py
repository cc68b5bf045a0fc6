"""The parity gate: a trained model becomes ACTIVE only when inference computes from its files what the trainer computed.

Inference is asked through the gateway, as anybody asks it, for the log-probabilities of the same fixed tokens. What agrees within the
tolerance is noted in `summary.verification`; what does not fails, and its files stay for whoever looks into it.
"""

import math
import time
from typing import Any

import structlog

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, inference_pb2, trainer_pb2
from servicekit.errors import Unavailable, WrongState
from servicekit.peers import gateway_client
from servicekit.worker import Deferred, Task
from services.trainer.models import Model
from services.trainer.settings import TrainerSettings

# Of one token's log-probability, in nats. Two programs that multiply the same float32 weights in another order differ by some 1e-5;
# weights rounded to 16 bits, or multiplied as such, by some hundredths.
FLOAT32_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.06
# A deployment that serves other models only: there is nobody to ask.
NOT_SERVED = ("ANOTHER_BASE_MODEL",)
CALL_S = 600.0  # loading a large model takes minutes
AGAIN_S = 10.0
log = structlog.get_logger()


async def verify(task: Task, model: Model, result: dict[str, Any], settings: TrainerSettings) -> None:
    """Shows the model as VERIFYING, asks inference, fills in `model.summary.verification`. Does nothing where the gate is switched off.

    `result["parity"]`: `tokens` of each text, the trainer's `logprobs` of all but the first, the narrowest `dtype` that weights had on
    their way, and `max_merged_difference` of an adapter. WrongState PARITY_FAILED with the numbers; Deferred while inference cannot be asked, and
    Unavailable when that has lasted for `verify_wait_s`.
    """
    told = result.get("parity")
    if not settings.verify_parity or not told or not told["tokens"]:
        return
    model.state = common_pb2.VERIFYING
    await task.show(model)
    count = sum(map(len, told["logprobs"]))
    await task.progress("verifying", message=f"asking inference for the log-probabilities of {count} tokens")
    client = gateway_client(settings, task.project)
    try:
        engine = await client.stubs.inference.GetEngine(inference_pb2.GetEngineRequest(), timeout=CALL_S)
        found = await logprobs(client, model.name, told["tokens"])
    except errors.IngrainError as error:
        if error.reason in NOT_SERVED:
            log.warning("not verified", model=model.name, reason=error.reason, message=error.message)
            return
        raise await instead(task, model, error, settings) from error
    half = told["dtype"] != "float32" or engine.environment.dtype != "float32"
    verification = compared(told, found, HALF_TOLERANCE if half else FLOAT32_TOLERANCE)
    model.summary.verification.CopyFrom(verification)
    if wrong := disagreement(verification):
        await task.show(model)
        raise WrongState(
            "PARITY_FAILED",
            f"What is computed from the files of {model.name} is not what was trained, over {count} tokens: {wrong}. "
            "The files are kept for inspection.",
            model=model.name,
            max_difference=verification.max_difference,
            tolerance=verification.tolerance,
        )


async def logprobs(client: AsyncClient, model: str, texts: list[list[int]]) -> list[list[float]]:
    """Of all tokens but the first of each text, as inference computes them."""
    request = inference_pb2.GenerateRequest(
        model=model,
        inputs=[inference_pb2.Input(token_ids=inference_pb2.TokenIds(ids=text)) for text in texts],
        prompt_logprobs=True,
    )
    response = await client.stubs.inference.Generate(request, timeout=CALL_S)
    return [[token.logprob for token in one.prompt_tokens[1:]] for one in response.generations]


def compared(told: dict[str, Any], found: list[list[float]], tolerance: float) -> trainer_pb2.Verification:
    pairs = [
        (ours, theirs)
        for one, other in zip(told["logprobs"], found, strict=True)
        for ours, theirs in zip(one, other, strict=True)
    ]
    return trainer_pb2.Verification(
        token_count=len(pairs),
        max_difference=max((abs(ours - theirs) for ours, theirs in pairs), key=ordered),
        tolerance=tolerance,
        max_merged_difference=told.get("max_merged_difference"),
    )


def disagreement(found: trainer_pb2.Verification) -> str:
    """For people; empty where all agree. What is no number agrees with nothing."""
    wrong = []
    if not found.max_difference <= found.tolerance:
        wrong.append(
            f"inference differs by up to {found.max_difference:.6f} nats a token, {found.tolerance:g} are allowed"
        )
    # Both were computed in float32, from the files.
    if found.HasField("max_merged_difference") and not found.max_merged_difference <= FLOAT32_TOLERANCE:
        wrong.append(
            f"merged into its base the adapter differs by up to {found.max_merged_difference:.6f} nats, "
            f"{FLOAT32_TOLERANCE:g} are allowed"
        )
    return "; ".join(wrong)


def ordered(difference: float) -> float:
    """What is no number counts as the greatest."""
    return math.inf if math.isnan(difference) else difference


async def instead(
    task: Task, model: Model, error: errors.IngrainError, settings: TrainerSettings
) -> Exception:
    """What to raise where inference gave no answer: the training is done, and is not lost because inference is away for a while."""
    if isinstance(error, errors.Internal):
        return Unavailable(
            "INFERENCE_FAILED", f"Inference failed with the files of {model.name}: {error.message}"
        )
    if not isinstance(error, errors.Unavailable | errors.DeadlineExceeded | errors.Exhausted):
        return WrongState(
            "PARITY_FAILED",
            f"Inference refuses the files of {model.name}: {error.message} They are kept for inspection.",
            model=model.name,
        )
    since = task.notes.get("unverified_since")
    if since is None:
        since = time.time()
        await task.note(unverified_since=since)
    if time.time() - since < settings.verify_wait_s:
        await task.progress("verifying", message=f"waits for inference: {error.message}")
        return Deferred(AGAIN_S)
    return Unavailable(
        "INFERENCE_UNREACHABLE",
        f"The model is trained and stored, but inference could not be asked whether it computes the same: {error.message} "
        "Start inference, or switch the check off with INGRAIN_VERIFY_PARITY=false.",
    )
