"""A batch of probes of one shape and one context -> answers."""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from ingrain import AsyncClient
from ingrain.errors import AlreadyExists
from ingrain.v1 import common_pb2, evaluator_pb2, inference_pb2
from services.evaluator import metrics
from services.evaluator.probes import Probe

ANSWER_TOKENS = 64
CALL_S = 1800.0


def batches(probes: Sequence[Probe], group_key: str, size: int) -> Iterator[list[Probe]]:
    """Probes that can be asked in one call: the same shape, the same context, at most `size`."""
    ordered: dict[tuple[bool, str], list[Probe]] = {}
    for probe in probes:
        group = probe.value_of(group_key) if group_key else ""
        ordered.setdefault((probe.is_choice, group), []).append(probe)
    for alike in ordered.values():
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


async def ask(
    client: AsyncClient, model: str, context: str, batch: Sequence[Probe], cluster_key: str
) -> dict[str, Any]:
    """{"rows": answers as they are stored, "usage": [...]}."""
    if batch[0].is_choice:
        return await _score(client, model, context, batch, cluster_key)
    return await _generate(client, model, context, batch, cluster_key)


async def _score(
    client: AsyncClient, model: str, context: str, batch: Sequence[Probe], cluster_key: str
) -> dict[str, Any]:
    items = [inference_pb2.ScoreItem(prompt=probe.prompt, choices=probe.choices) for probe in batch]
    request = inference_pb2.ScoreRequest(model=model, context=context, items=items)
    answer = await client.stubs.inference.Score(request, timeout=CALL_S)
    rows = []
    for probe, scores in zip(batch, answer.items, strict=True):
        sums = [choice.sum_logprob for choice in scores.choices]
        means = [choice.mean_logprob for choice in scores.choices]
        values = metrics.forced_choice(sums, means, probe.right)
        chosen = probe.choices[sums.index(max(sums))]
        rows.append(
            _row(probe, cluster_key, "acc", values, chosen)
            | {"scores": sums, "chance": metrics.chance(len(probe.choices), len(probe.right))}
        )
    return {"rows": rows, "usage": _usage(answer.usage)}


async def _generate(
    client: AsyncClient, model: str, context: str, batch: Sequence[Probe], cluster_key: str
) -> dict[str, Any]:
    request = inference_pb2.GenerateRequest(
        model=model,
        context=context,
        prompts=[probe.prompt for probe in batch],
        max_tokens=ANSWER_TOKENS,
        stop=["\n"],
    )
    answer = await client.stubs.inference.Generate(request, timeout=CALL_S)
    rows = []
    for probe, generation in zip(batch, answer.generations, strict=True):
        text = generation.text.strip()
        if probe.is_list:
            rows.append(_row(probe, cluster_key, "f1", metrics.list_match(text, probe.answers), text))
        else:
            rows.append(
                _row(probe, cluster_key, "exact_match", metrics.exact_match(text, probe.answers), text)
            )
    return {"rows": rows, "usage": _usage(answer.usage)}


def _row(
    probe: Probe, cluster_key: str, headline: str, values: dict[str, float], answer: str
) -> dict[str, Any]:
    return {
        "id": probe.id,
        "kind": probe.kind,
        # A probe without a cluster stands for itself.
        "cluster": probe.value_of(cluster_key) or probe.id,
        "metric": headline,
        "value": values[headline],
        "metrics": values,
        "answer": answer,
    }


def _usage(usage: inference_pb2.Usage) -> list[float]:
    return [
        usage.prompt_token_count - usage.cached_token_count,
        usage.cached_token_count,
        usage.generated_token_count,
        usage.flops,
        usage.compute_seconds,
    ]


async def ensure_context(
    client: AsyncClient, subject: evaluator_pb2.Subject, group: str, model_sha256: str, dataset_sha256: str
) -> inference_pb2.Context:
    """The context of that content, made once: other evaluations of the same model and documents share it."""
    wanted = subject.context
    selection = common_pb2.RowSelection(distinct_key=wanted.distinct_key)
    if wanted.group_key:
        selection.key, selection.value = wanted.group_key, group
    context = inference_pb2.Context(model=subject.model, dataset=wanted.dataset, selection=selection)
    content = context.SerializeToString(deterministic=True) + f"{model_sha256} {dataset_sha256}".encode()
    identity = hashlib.sha256(content).hexdigest()
    name = f"{client.parent}/contexts/documents-{identity[:16]}"
    request = inference_pb2.CreateContextRequest(
        parent=client.parent,
        context_id=name.rsplit("/", 1)[1],
        context=context,
        request_id=str(uuid.UUID(identity[:32])),
    )
    try:
        made = await client.operations.wait(await client.stubs.inference.CreateContext(request))
    except AlreadyExists:
        made = await client.stubs.inference.GetContext(inference_pb2.GetContextRequest(name=name))
    return made
