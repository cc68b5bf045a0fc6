"""Before anything is paid for: are the inputs there, do they fit together, can the model read them, what will it take?"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, inference_pb2, studies_pb2, trainer_pb2
from servicekit.errors import Invalid, WrongState
from services.studies.coverage import groups
from services.studies.plan import Step
from services.studies.repeats import check_contradictions
from services.studies.requests import create, create_request

# A word of what a narrow model was made for is one to two of its tokens; other words fall apart into letters.
MOST_TOKENS_PER_WORD = 2.6
_TEXT_BYTES = 512 << 10  # a piece of a context whose tokens are counted at once
_CALL_BYTES = 2 << 20
_CALL_TEXTS = 4096

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What a study stands on. `contexts`: tokens of the documents by group, as they would be read in context."""

    documents: datasets_pb2.Dataset
    probes: datasets_pb2.Dataset
    model: trainer_pb2.Model
    probe_rows: Sequence[Row]
    contexts: Mapping[str, int]

    @property
    def names(self) -> dict[str, str]:
        return {"documents": self.documents.name, "probes": self.probes.name, "model": self.model.name}

    @property
    def digests(self) -> dict[str, str]:
        return {"documents": self.documents.sha256, "probes": self.probes.sha256, "model": self.model.sha256}


async def inspect(client: AsyncClient, spec: studies_pb2.StudySpec) -> Inputs:
    """Reads and checks the inputs of a normalised spec. Raises Invalid or WrongState that say what to do."""
    documents, probes, model = await asyncio.gather(
        client.datasets.get(spec.dataset), client.datasets.get(spec.probes), client.models.get(spec.model)
    )
    check_kind(documents, datasets_pb2.Dataset.DOCUMENTS, "study.spec.dataset")
    check_kind(probes, datasets_pb2.Dataset.PROBES, "study.spec.probes")
    check_active(model, "study.spec.model")
    document_rows = [row async for row in client.datasets.rows(documents.name)]
    probe_rows = [row async for row in client.datasets.rows(probes.name)]
    if spec.group_key:
        check_groups(document_rows, spec.group_key, documents.name)
        check_groups(probe_rows, spec.group_key, probes.name)
    check_contradictions(probe_rows, spec.group_key)
    contexts = context_texts(document_rows, spec.group_key, spec.distinct_key)
    pieces = {group: split_text(texts) for group, texts in contexts.items()}
    counts = iter(await count_tokens(client, model.name, [piece for p in pieces.values() for piece in p]))
    token_counts = {group: sum(next(counts) for _ in p) for group, p in pieces.items()}
    if model.domain:
        words = sum(len(text.split()) for texts in contexts.values() for text in texts)
        check_readable(model, sum(token_counts.values()), words)
    if "icl" in spec.methods:
        questions = [longest_reading(row) for row in probe_rows]
        question_counts = await count_tokens(client, model.name, questions)
        check_window(model, token_counts, groups(probe_rows, spec.group_key), question_counts)
    return Inputs(documents, probes, model, probe_rows, token_counts)


async def rehearse(client: AsyncClient, steps: Sequence[Step], inputs: Inputs) -> common_pb2.Estimate:
    """Asks every service to check its part and to estimate it; nothing runs. The sum.

    What is not there yet is stood in for: a trained model by the base model, derived rows by none (every training
    takes the same steps).
    """

    async def estimate(step: Step) -> tuple[Step, common_pb2.Estimate]:
        names = {role: inputs.names[source] for role, source in step.inputs.items() if source in inputs.names}
        names.setdefault("model", inputs.model.name)
        request = create_request(step, client.parent, names, validate_only=True)
        return step, await client.operations.wait(await create(client, step, request))

    return sum_of(await asyncio.gather(*map(estimate, steps)), inputs)


def sum_of(estimates: Sequence[tuple[Step, common_pb2.Estimate]], inputs: Inputs) -> common_pb2.Estimate:
    """Costs and optimizer steps added, memory of the largest worker, notes with their steps."""
    whole = common_pb2.Estimate(row_count=inputs.documents.row_count + inputs.probes.row_count)
    for step, estimate in estimates:
        for field in common_pb2.Cost.DESCRIPTOR.fields:
            added = getattr(whole.cost, field.name) + getattr(estimate.cost, field.name)
            setattr(whole.cost, field.name, added)
        whole.worker_memory_bytes = max(whole.worker_memory_bytes, estimate.worker_memory_bytes)
        whole.step_count += estimate.step_count
        whole.notes.extend(f"{step.id}: {note}" for note in estimate.notes)
    whole.notes.append("Steps that were done before with the same inputs and settings will cost nothing.")
    return whole


async def check_unchanged(
    client: AsyncClient, inputs: Inputs, evaluations: Iterable[evaluator_pb2.Evaluation]
) -> None:
    """At the end: the inputs are what they were at the start, and every method was asked these probes."""
    documents, probes, model = await asyncio.gather(
        client.datasets.get(inputs.documents.name),
        client.datasets.get(inputs.probes.name),
        client.models.get(inputs.model.name),
    )
    for before, now in ((inputs.documents, documents), (inputs.probes, probes), (inputs.model, model)):
        if before.sha256 != now.sha256:
            raise input_changed(now.name, before.sha256, now.sha256)
    for evaluation in evaluations:
        if evaluation.probes_sha256 and evaluation.probes_sha256 != inputs.probes.sha256:
            raise input_changed(evaluation.probes, inputs.probes.sha256, evaluation.probes_sha256)


def input_changed(name: str, before: str, now: str) -> WrongState:
    return WrongState(
        "INPUT_CHANGED",
        f"{name} changed while the study ran (sha256 {before[:12]}, now {now[:12]}), so its methods were not measured on "
        "the same. Create the study again: steps whose inputs are unchanged are found and cost nothing.",
        name=name,
    )


def check_kind(dataset: datasets_pb2.Dataset, kind: int, field: str) -> None:
    check_active(dataset, field)
    if dataset.kind != kind:
        wanted = datasets_pb2.Dataset.Kind.Name(kind)
        found = datasets_pb2.Dataset.Kind.Name(dataset.kind)
        raise Invalid(
            "WRONG_DATASET_KIND",
            f"{dataset.name} holds {found}, not {wanted}; name a dataset of kind {wanted}.",
            field=field,
            kind=found,
        )
    if not dataset.row_count:
        raise Invalid("DATASET_EMPTY", f"{dataset.name} has no rows.", field=field)


def check_active(resource: Any, field: str) -> None:
    if resource.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(resource.state)
        raise WrongState(
            "INPUT_NOT_ACTIVE",
            f"{resource.name} is {state}; it must be ACTIVE ({field}).",
            name=resource.name,
        )


def check_groups(rows: Sequence[Row], group_key: str, dataset: str) -> None:
    for i, row in enumerate(rows):
        if group_key not in (row.get("metadata") or {}):
            raise Invalid(
                "GROUP_KEY_MISSING",
                f"rows[{i}] of {dataset} has no metadata.{group_key}; every row needs it, or leave group_key empty.",
                field="study.spec.group_key",
                row=i,
            )


def context_texts(rows: Sequence[Row], group_key: str, distinct_key: str) -> dict[str, list[str]]:
    """Each group's documents in order; of those that share `distinct_key`'s value the first."""
    texts: dict[str, list[str]] = {}
    seen = set()
    for row, group in zip(rows, groups(rows, group_key), strict=True):
        metadata = row.get("metadata") or {}
        if distinct_key and distinct_key in metadata:
            identity = (group, str(metadata[distinct_key]))
            if identity in seen:
                continue
            seen.add(identity)
        texts.setdefault(group, []).append(row["text"])
    return texts


def split_text(texts: Sequence[str]) -> list[str]:
    """The documents joined as in a context, in pieces that fit into a call."""
    pieces: list[list[str]] = [[]]
    size = 0
    for text in texts:
        if size > _TEXT_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(text)
        size += len(text.encode()) + 1
    return ["\n".join(piece) for piece in pieces]


async def count_tokens(client: AsyncClient, model: str, texts: Sequence[str]) -> list[int]:
    """In calls that stay under the message limit."""
    counts: list[int] = []
    batch: list[str] = []
    size = 0
    for text in [*texts, None]:
        full = text is None or size + len(text.encode()) > _CALL_BYTES or len(batch) == _CALL_TEXTS
        if batch and full:
            request = inference_pb2.CountTokensRequest(parent=client.parent, model=model, texts=batch)
            counts.extend((await client.stubs.inference.CountTokens(request)).token_counts)
            batch, size = [], 0
        if text is not None:
            batch.append(text)
            size += len(text.encode())
    return counts


def longest_reading(probe: Row) -> str:
    """The most that is read after the context for this probe."""
    if "choices" not in probe:
        return f"Question: {probe['question']}\nAnswer: {', '.join(map(str, probe['answers']))}"
    return f"{probe['prompt']} {max(map(str, probe['choices']), key=len)}"


def check_readable(model: trainer_pb2.Model, token_count: int, word_count: int) -> None:
    ratio = token_count / max(1, word_count)
    if ratio > MOST_TOKENS_PER_WORD:
        raise WrongState(
            "MODEL_CANNOT_READ_DOCUMENTS",
            f"{model.name} was pretrained only for {model.domain} and cannot read these documents: it needs {ratio:.1f} "
            f"tokens for a word where {MOST_TOKENS_PER_WORD} is the most for text that it knows. Use a checkpoint for real "
            "text: `--model <folder or hub id>`.",
            tokens_per_word=f"{ratio:.2f}",
            limit=MOST_TOKENS_PER_WORD,
            domain=model.domain,
        )


def check_window(
    model: trainer_pb2.Model,
    contexts: Mapping[str, int],
    probe_groups: Sequence[str],
    question_counts: Sequence[int],
) -> None:
    """Every probe fits behind its group's documents. One token begins the text, two part it."""
    for i, (group, question) in enumerate(zip(probe_groups, question_counts, strict=True)):
        if group not in contexts:
            raise Invalid(
                "GROUP_WITHOUT_DOCUMENTS",
                f"rows[{i}] of the probes belongs to {group!r}, of which there are no documents to read in context.",
                field="study.spec.probes",
                row=i,
            )
        token_count = contexts[group] + question + 3
        if model.context_window and token_count > model.context_window:
            of_group = f" of {group!r}" if group else ""
            raise Invalid(
                "CONTEXT_TOO_LONG",
                f"The documents{of_group} and a probe are {token_count:,} tokens; {model.name} reads {model.context_window:,}. "
                "Leave `icl` out of methods, part the documents by group_key, or take a model with a longer window.",
                field="study.spec.methods",
                token_count=token_count,
                context_window=model.context_window,
            )
