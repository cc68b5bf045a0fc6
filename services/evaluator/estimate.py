"""What asking will take, reckoned from some of the probes before any is asked."""

from collections.abc import Sequence

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, evaluator_pb2, inference_pb2, trainer_pb2
from servicekit.costs import forward_flops
from services.evaluator.asking import ANSWER_TOKENS
from services.evaluator.judging import prompt_of
from services.evaluator.probes import Probe

SAMPLE = 256  # probes that are counted, from all over the set
SAMPLE_BYTES = 2 << 20  # of their texts: what a message takes


async def estimate(
    client: AsyncClient, model: trainer_pb2.Model, probes: Sequence[Probe], with_context: bool
) -> common_pb2.Estimate:
    """Tokens of prompts and choices, each read once; of answers at most so many."""
    sample = sample_of(probes)
    request = inference_pb2.CountTokensRequest(model=model.name, texts=[probe.text for probe in sample])
    counts = (await client.stubs.inference.CountTokens(request)).token_counts
    mean_tokens = sum(counts) / len(sample)
    question_count = sum(probe.is_written for probe in probes)
    read, written = round(mean_tokens * len(probes)), ANSWER_TOKENS * question_count
    shape = model
    if model.adapter:
        shape = await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=model.base_model))
    mean_total = round((read + written) / len(probes))
    each = forward_flops(shape.parameter_count, shape.layer_count, shape.hidden_size, mean_total)
    notes = [
        f"{len(probes)} probes of {mean_tokens:.0f} tokens on average with their choices (from {len(sample)} of them)"
    ]
    if question_count:
        notes.append(f"at most {ANSWER_TOKENS} tokens are written for each of {question_count} questions")
    if with_context:
        notes.append("contexts are read once per group and not counted here")
    cost = common_pb2.Cost(prompt_token_count=read, generated_token_count=written, flops=each * len(probes))
    return common_pb2.Estimate(cost=cost, row_count=len(probes), notes=notes)


async def judging_note(client: AsyncClient, judge: evaluator_pb2.Judge, probes: Sequence[Probe]) -> str:
    """What a judge will read, taking answers to be as long as the right ones."""
    questions = [probe for probe in probes if probe.is_written]
    sample = sample_of(questions)
    texts = [prompt_of(judge.rubric, probe, ", ".join(probe.answers)) for probe in sample]
    counts = (
        await client.stubs.inference.CountTokens(
            inference_pb2.CountTokensRequest(model=judge.model, texts=texts)
        )
    ).token_counts
    each = sum(counts) / len(counts)
    return f"{judge.model} reads about {each:.0f} tokens to judge each of {len(questions)} answers, counted apart"


def sample_of(probes: Sequence[Probe]) -> list[Probe]:
    """At least one, evenly over all of them, as many as fit a message."""
    chosen: list[Probe] = []
    size = 0
    for probe in probes[:: -(-len(probes) // SAMPLE)]:
        size += probe.size_bytes
        if chosen and size > SAMPLE_BYTES:
            break
        chosen.append(probe)
    return chosen
