"""A batch of probes of one shape and one context -> what the model gave, and that as rows."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ingrain import AsyncClient, errors, matching
from ingrain.v1 import inference_pb2
from servicekit.errors import Invalid
from services.evaluator import metrics
from services.evaluator.probes import Probe
from services.evaluator.texts import MESSAGE_BYTES, in_messages, word_count

ANSWER_TOKENS = 64
CALL_S = 1800.0
Given = dict[str, Any]  # {"answers": one per probe, "usage": [...]}, as it is stored


def batches(probes: Sequence[Probe], group_key: str, size: int) -> Iterator[list[Probe]]:
    """Probes that can be asked in one call: the same shape, the same context, at most `size` that fit a message."""
    ordered: dict[tuple[bool, bool, str], list[Probe]] = {}
    for probe in probes:
        group = probe.value_of(group_key) if group_key else ""
        ordered.setdefault((probe.is_choice, probe.is_text, group), []).append(probe)
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


def asked_of(batch: Sequence[Probe]) -> list[Any]:
    """All that the answers depend on beside model and context."""
    if batch[0].is_text:
        return ["text", [probe.windows for probe in batch]]
    if batch[0].is_choice:
        return ["choice", [[probe.prompt, probe.choices] for probe in batch]]
    return ["written", ANSWER_TOKENS, [probe.prompt for probe in batch]]


async def ask(client: AsyncClient, model: str, context: str, batch: Sequence[Probe]) -> Given:
    """Answers: of a choice `[sums, token counts]`, of a text the sum of each window, else what was written."""
    if batch[0].is_text:
        return await _read(client, model, batch)
    try:
        if batch[0].is_choice:
            return await _score(client, model, context, batch)
        return await _generate(client, model, context, batch)
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


async def _score(client: AsyncClient, model: str, context: str, batch: Sequence[Probe]) -> Given:
    items = [inference_pb2.ScoreItem(prompt=probe.prompt, choices=probe.choices) for probe in batch]
    request = inference_pb2.ScoreRequest(model=model, context=context, items=items)
    answer = await client.stubs.inference.Score(request, timeout=CALL_S)
    found = [
        [[choice.sum_logprob for choice in scores.choices], [choice.token_count for choice in scores.choices]]
        for scores in answer.items
    ]
    return {"answers": found, "usage": usage_of(answer.usage)}


async def _read(client: AsyncClient, model: str, batch: Sequence[Probe]) -> Given:
    """Without context: each window after the mark that begins texts."""
    sums: list[float] = []
    usage = [0.0] * 5
    owners = [text for text in batch for _ in text.windows]
    for run in in_messages([window for text in batch for window in text.windows]):
        items = [inference_pb2.ScoreItem(choices=[window]) for window in run]
        request = inference_pb2.ScoreRequest(model=model, items=items)
        try:
            answer = await client.stubs.inference.Score(request, timeout=CALL_S)
        except errors.Invalid as error:
            raise of_probe(error, owners[len(sums) :]) from error
        sums.extend(scores.choices[0].sum_logprob for scores in answer.items)
        usage = [total + more for total, more in zip(usage, usage_of(answer.usage), strict=True)]
    following = iter(sums)
    return {"answers": [[next(following) for _ in text.windows] for text in batch], "usage": usage}


async def _generate(client: AsyncClient, model: str, context: str, batch: Sequence[Probe]) -> Given:
    request = inference_pb2.GenerateRequest(
        model=model,
        context=context,
        prompts=[probe.prompt for probe in batch],
        max_tokens=ANSWER_TOKENS,
        stop=["\n"],
    )
    answer = await client.stubs.inference.Generate(request, timeout=CALL_S)
    found = [generation.text.strip() for generation in answer.generations]
    return {"answers": found, "usage": usage_of(answer.usage)}


def row_of(probe: Probe, answer: Any, cluster_key: str) -> dict[str, Any]:
    """The answer as it is kept and shown; its metrics are counted here."""
    if probe.is_text:
        return _text_row(probe, answer, cluster_key)
    if probe.is_choice:
        return _choice_row(probe, answer, cluster_key)
    if probe.is_list:
        values = matching.list_match(answer, probe.answers)
        return _row(probe, cluster_key, "f1", values) | {"answer": answer}
    values = matching.answer_match(answer, probe.answers)
    return _row(probe, cluster_key, "exact_match", values) | {"answer": answer}


def _choice_row(probe: Probe, answer: Any, cluster_key: str) -> dict[str, Any]:
    sums, token_counts = answer
    values = metrics.forced_choice(sums, token_counts, probe.choices, probe.right)
    return _row(probe, cluster_key, "acc", values) | {
        "answer": probe.choices[sums.index(max(sums))],
        "scores": sums,
        "token_counts": token_counts,
        "chance": metrics.chance(len(probe.choices), len(probe.right)),
        "tie": metrics.is_tie(sums),
    }


def _text_row(probe: Probe, sums: Sequence[float], cluster_key: str) -> dict[str, Any]:
    total, byte_count, words = sum(sums), probe.size_bytes, word_count(probe.text)
    values = metrics.text_likelihood(total, byte_count, words)
    return _row(probe, cluster_key, metrics.BITS_PER_BYTE, values) | {
        "loglikelihood": total,
        "byte_count": byte_count,
        "word_count": words,
        "window_count": len(sums),
    }


def _row(probe: Probe, cluster_key: str, headline: str, values: dict[str, float]) -> dict[str, Any]:
    return {
        "id": probe.id,
        "kind": probe.kind,
        "cluster": probe.cluster(cluster_key),
        "metric": headline,
        "value": values[headline],
        "metrics": values,
    }


def usage_of(usage: inference_pb2.Usage) -> list[float]:
    return [
        usage.prompt_token_count - usage.cached_token_count,
        usage.cached_token_count,
        usage.generated_token_count,
        usage.flops,
        usage.compute_seconds,
    ]
