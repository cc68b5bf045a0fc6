"""`ingrain study ./docs`: from a folder to a running study."""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingrain import Client, errors, general
from ingrain.cli import own_probes
from ingrain.cli.folder_documents import documents_of
from ingrain.cli.output import Format, stderr
from ingrain.cli.progress import wait
from ingrain.models import checkpoint_files, source_uri
from ingrain.names import full_name, short_id
from ingrain.rows import read_rows
from ingrain.v1 import common_pb2, trainer_pb2

BUNDLED = "bundled://small"
# Tokens of a packed row: the trainer's default, and the most that is taken for the sake of long documents.
_ROW, _LONGEST_ROW = 256, 2048
_ROWS_PER_STEP = 4
_SAMPLED = 50  # documents by which it is told whether a model can read them
_MOST_TOKENS_PER_WORD = 2.6
_QUESTION = 512  # tokens of the window that are left to a question and its answer
_KEPT_SEED = 990  # of worlds that nobody trains on


def prepared(
    client: Client,
    documents: Path,
    model: str,
    probes_file: Path | None,
    output: Format,
    *,
    steps: int,
    seed: int,
    group_key: str,
    keep: bool = True,
    methods: Sequence[str] = (),
    **spec: Any,
) -> dict[str, Any]:
    """Uploads what is new, makes probes where there are none: the arguments of `client.studies.create`."""
    rows = documents_of(client, documents)
    where = probes_file or own_probes.path(documents)
    made_world = all("world" in row.get("metadata", {}) for row in rows)
    group_key = group_key or ("world" if made_world else "")
    labels: dict[str, str] = {}
    if probes_file is not None and not probes_file.is_file():
        raise errors.Invalid(f"{probes_file} is no file; leave --probes out to have probes made")
    base = bring_in(client, model, output)
    refuse_narrow(client, base, rows)
    dataset = upload(client, rows, documents.resolve().name, "documents")
    stderr.print(f"{dataset.row_count} documents: {short_id(dataset.name)}")
    if where.is_file():
        asked = read_rows(where)
        stderr.print(f"Probes from {where}.")
    else:
        made = own_probes.make(client, rows, dataset.name, base.name, group_key, seed, output)
        asked, labels = made.rows, made.labels
        own_probes.write(where, asked)
        stderr.print(f"Wrote {where}: {made.counts}. Edit it and run again for better ones.")
    probed = upload(client, asked, f"{documents.resolve().name}-probes", "probes", labels)
    if keep and "retention" not in spec:
        spec["retention"] = retention(client, base)
    return {
        "dataset": dataset.name,
        "probes": probed.name,
        "model": base.name,
        "methods": methods or methods_for(client, base, rows, group_key),
        "training": {**training_for(client, base, rows), "max_steps": steps, "seed": seed},
        "augmentation": {"seed": seed},
        "group_key": group_key,
        "distinct_key": "fact" if made_world else "",
        "seed": seed,
        **spec,
    }


def methods_for(
    client: Client, model: trainer_pb2.Model, rows: list[dict[str, Any]], group_key: str
) -> tuple[str, ...]:
    """Documents that do not fit the window are searched, and augmented one at a time."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        group = str((row.get("metadata") or {}).get(group_key, "")) if group_key else ""
        texts.setdefault(group, []).append(row.get("text", ""))
    most = 0
    for group in texts.values():
        counts = [
            sum(client.count_tokens(model.name, group[i : i + 1000])) for i in range(0, len(group), 1000)
        ]
        most = max(most, sum(counts) + len(group))
    if not model.context_window or most + _QUESTION <= model.context_window:
        return ("base", "icl", "rag", "finetune", "augmented_finetune")
    stderr.print(
        f"The documents are {most:,} tokens and {short_id(model.name)} reads {model.context_window:,}: they are searched for "
        "each question instead of read whole."
    )
    return ("base", "icl_retrieved", "rag", "finetune", "augmented_finetune_local")


def bring_in(client: Client, model: str, output: Format) -> trainer_pb2.Model:
    """The model by name; or imported or uploaded, once, from what it names."""
    if "/" not in model or model.startswith("projects/"):
        try:
            return client.models.get(model)
        except errors.NotFound:
            if not Path(model).is_dir():
                raise
    uri = source_uri(model)
    id = slug(model.removesuffix("/")) if uri else f"{slug(Path(model).name)}-{folder_digest(Path(model))}"
    try:
        known = client.models.get(id)
    except errors.NotFound:
        stderr.print(f"{'Importing' if uri else 'Uploading'} {model} as {id}.")
        return wait(client.models.import_(model, id=id), output)
    if known.state in (common_pb2.CREATING, common_pb2.VERIFYING):
        return wait(next(iter(client.operations.list(known.name))), output)
    if known.state == common_pb2.FAILED:
        raise errors.WrongState(f"the import of {id} failed before; remove it: ingrain model delete {id}")
    return known


def refuse_narrow(client: Client, model: trainer_pb2.Model, rows: Sequence[dict[str, Any]]) -> None:
    """A model made for one narrow domain would give numbers on ordinary text that mean nothing. What it knows are
    whole words; what it does not know falls apart into letters."""
    if not model.domain:
        return
    texts = [text for row in rows[:_SAMPLED] if (text := row.get("text", ""))]
    ratio = sum(client.count_tokens(model.name, texts)) / max(1, sum(len(text.split()) for text in texts))
    if ratio > _MOST_TOKENS_PER_WORD:
        raise errors.Invalid(
            f"the model {short_id(model.name)} was made for {model.domain} and cannot read these documents "
            f"({ratio:.1f} tokens for a word), so its results would mean nothing; name a model that reads your "
            "language: --model org/name or --model FOLDER",
            reason="MODEL_CANNOT_READ_DOCUMENTS",
        )


def retention(client: Client, model: trainer_pb2.Model) -> dict[str, str]:
    """What training should not take away is asked before and after: general text and questions in the model's own domain,
    and questions about invented documents in its context, which every model has to read to answer."""
    kept = general.held_out(_KEPT_SEED)
    text, asked = (kept.text, kept.probes) if model.domain else (general.text(), general.probes())
    named = "kept" if model.domain else "general"
    return {
        "text": upload(client, text, f"{named}-text", "documents").name,
        "probes": upload(client, asked, f"{named}-probes", "probes").name,
        "context": upload(client, kept.context, "kept-context", "documents").name,
        "context_probes": upload(client, kept.context_probes, "kept-context-probes", "probes").name,
        "group_key": kept.group_key,
        "distinct_key": kept.distinct_key,
    }


def upload(
    client: Client,
    rows: list[dict[str, Any]],
    name: str,
    kind: str,
    labels: Mapping[str, str] | None = None,
) -> Any:
    """Under a name from its content, so that the same rows are the same dataset."""
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    identity = uuid.uuid5(
        uuid.NAMESPACE_OID, f"{client.parent} {name} {kind} {digest} {sorted((labels or {}).items())}"
    )
    id = f"{slug(name)}-{digest[:8]}"
    try:
        return client.datasets.upload(
            rows, id=id, kind=kind, display_name=name, request_id=str(identity), labels=labels
        )
    except errors.AlreadyExists:
        return client.datasets.get(full_name(client.parent, "datasets", id))


def training_for(client: Client, model: trainer_pb2.Model, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows that the longest document fits, as many tokens a step as ever; longer documents sentence by sentence."""
    longest = sorted((row.get("text", "") for row in rows), key=len)[-20:]
    tokens = max(client.count_tokens(model.name, longest)) + 2  # the marks of beginning and end
    if tokens <= _ROW:
        return {}
    most = min(model.context_window or _ROW, _LONGEST_ROW)
    length = min(most, -(-tokens // 64) * 64)
    fitted = {"max_length": length, "per_device_train_batch_size": max(1, _ROWS_PER_STEP * _ROW // length)}
    return fitted if tokens <= length else {"splitting": "sentence", **fitted}


def slug(name: str) -> str:
    """An id from any name."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.split("://")[-1].lower()).strip("-")
    return f"{'' if cleaned[:1].isalpha() else 'm-'}{cleaned}"[:50].rstrip("-").ljust(2, "0")


def folder_digest(folder: Path) -> str:
    """Changes when a checkpoint's files do; without reading them, because they may be large."""
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in checkpoint_files(folder.expanduser())]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:8]
