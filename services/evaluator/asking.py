"""A batch of probes of one shape and one context -> answers."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ingrain import AsyncClient, errors, matching
from ingrain.v1 import common_pb2, evaluator_pb2, inference_pb2
from servicekit.contexts import ensure_context
from servicekit.errors import Invalid
from services.evaluator import metrics
from services.evaluator.probes import Probe

ANSWER_TOKENS = 64
CALL_S = 1800.0
MESSAGE_BYTES = 3 << 20  # of prompts and choices in a message


def batches(probes: Sequence[Probe], group_key: str, size: int) -> Iterator[list[Probe]]:
    """Probes that can be asked in one call: the same shape, the same context, at most `size` that fit a message."""
    ordered: dict[tuple[bool, str], list[Probe]] = {}
    for probe in probes:
        group = probe.value_of(group_key) if group_key else ""
        ordered.setdefault((probe.is_choice, group), []).append(probe)
    for alike in ordered.values():
        batch: list[Probe] = []
        batch_bytes = 0
        for probe in alike:
            if batch and (len(batch) == size or batch_bytes + probe.size_bytes > MESSAGE_BYTES):
                yield batch
                batch, batch_bytes = [], 0
            batch.append(probe)
            batch_bytes += probe.size_bytes
        yield batch


async def ask(
    client: AsyncClient, model: str, context: str, batch: Sequence[Probe], cluster_key: str
) -> dict[str, Any]:
    """{"rows": answers as they are stored, "usage": [...]}."""
    try:
        if batch[0].is_choice:
            return await _score(client, model, context, batch, cluster_key)
        return await _generate(client, model, context, batch, cluster_key)
    except errors.Invalid as error:
        raise of_probe(error, batch) from error


def of_probe(error: errors.Invalid, batch: Sequence[Probe]) -> Exception:
    """What inference says of the third prompt of a call is said of the probe behind it."""
    fields = [violation.field for violation in error.field_violations]
    found = re.match(r"(?:items|prompts)\[(\d+)\]", fields[0]) if fields else None
    if found is None:
        return error
    probe = batch[int(found[1])]
    message = f"probe {probe.id!r}: {error.message}"
    return Invalid(error.reason, message, field=f"probes[{probe.id!r}]", **error.metadata)


async def _score(
    client: AsyncClient, model: str, context: str, batch: Sequence[Probe], cluster_key: str
) -> dict[str, Any]:
    items = [inference_pb2.ScoreItem(prompt=probe.prompt, choices=probe.choices) for probe in batch]
    request = inference_pb2.ScoreRequest(model=model, context=context, items=items)
    answer = await client.stubs.inference.Score(request, timeout=CALL_S)
    rows = []
    for probe, scores in zip(batch, answer.items, strict=True):
        sums = [choice.sum_logprob for choice in scores.choices]
        token_counts = [choice.token_count for choice in scores.choices]
        values = metrics.forced_choice(sums, token_counts, probe.choices, probe.right)
        chosen = probe.choices[sums.index(max(sums))]
        rows.append(
            _row(probe, cluster_key, "acc", values, chosen)
            | {
                "scores": sums,
                "token_counts": token_counts,
                "chance": metrics.chance(len(probe.choices), len(probe.right)),
                "tie": metrics.is_tie(sums),
            }
        )
    return {"rows": rows, "usage": usage_of(answer.usage)}


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
            rows.append(_row(probe, cluster_key, "f1", matching.list_match(text, probe.answers), text))
        else:
            values = matching.answer_match(text, probe.answers)
            rows.append(_row(probe, cluster_key, "exact_match", values, text))
    return {"rows": rows, "usage": usage_of(answer.usage)}


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


def usage_of(usage: inference_pb2.Usage) -> list[float]:
    return [
        usage.prompt_token_count - usage.cached_token_count,
        usage.cached_token_count,
        usage.generated_token_count,
        usage.flops,
        usage.compute_seconds,
    ]


async def context_of(client: AsyncClient, subject: evaluator_pb2.Subject, group: str, digests: str) -> str:
    """The context's name; other evaluations of the same model and documents (by their `digests`) share it."""
    wanted = subject.context
    selection = common_pb2.RowSelection(distinct_key=wanted.distinct_key)
    if wanted.group_key:
        selection.key, selection.value = wanted.group_key, group
    context = inference_pb2.Context(model=subject.model, dataset=wanted.dataset, selection=selection)
    return await ensure_context(client, context, "documents", digests)
