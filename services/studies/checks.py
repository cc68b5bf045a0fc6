"""Whether inputs fit together; each raises what says what to do. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.v1 import common_pb2, datasets_pb2, studies_pb2, trainer_pb2
from servicekit.errors import Invalid, WrongState
from services.studies.methods import participants

# A word of what a narrow model was made for is one to two of its tokens; other words fall apart into letters.
MOST_TOKENS_PER_WORD = 2.6

Row = Mapping[str, Any]


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


def check_trainable(spec: studies_pb2.StudySpec, models: Mapping[str, trainer_pb2.Model]) -> None:
    """Models that another server answers for can be asked, not trained."""
    for participant in participants(spec):
        model = models[participant.model]
        if model.HasField("endpoint") and participant.method.trained_on:
            raise Invalid(
                "MODEL_CANNOT_BE_TRAINED",
                f"{model.name} is answered for by {model.endpoint.base_url} and cannot be trained, which "
                f"{participant.method.name} needs; leave that method out for it.",
                field="study.spec.methods" if participant.model == "model" else "study.spec.contenders",
                model=model.name,
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


def input_changed(name: str, before: str, now: str) -> WrongState:
    return WrongState(
        "INPUT_CHANGED",
        f"{name} changed while the study ran (sha256 {before[:12]}, now {now[:12]}), so its methods were not measured on "
        "the same. Create the study again: steps whose inputs are unchanged are found and cost nothing.",
        name=name,
    )
