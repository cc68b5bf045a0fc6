"""`ingrain study ./docs`: from a folder to a running study."""

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ingrain import Client, Operation, errors, probes
from ingrain.cli.output import Format, stderr
from ingrain.cli.progress import wait
from ingrain.models import checkpoint_files, source_uri
from ingrain.names import full_name, short_id
from ingrain.rows import read_rows
from ingrain.v1 import common_pb2, studies_pb2, trainer_pb2

BUNDLED = "bundled://small"
PROBES_FILE = "probes.jsonl"
# Tokens of a packed row: the trainer's default, and the most that is taken for the sake of long documents.
_ROW, _LONGEST_ROW = 256, 2048
_ROWS_PER_STEP = 4
_SAMPLED = 50  # documents by which it is told whether a model can read them
_MOST_TOKENS_PER_WORD = 2.6
_PREVIEWED = 20  # documents whose reversals the model writes


def run_own_documents(
    client: Client,
    documents: Path,
    model: str,
    probes_file: Path | None,
    id: str,
    output: Format,
    *,
    steps: int,
    seed: int,
    group_key: str,
    **spec: Any,
) -> Operation:
    """Uploads what is new, makes probes where there are none, and starts the study."""
    rows = read_rows(documents, without=[PROBES_FILE])
    where = probes_file or probes_path(documents)
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
        asked = make_probes(client, rows, dataset.name, base.name, seed)
        write_rows(where, asked)
        stderr.print(f"Wrote {where}: {_counts(asked)}. Edit it and run again for better ones.")
    probed = upload(client, asked, f"{documents.resolve().name}-probes", "probes")
    made_world = all("world" in row.get("metadata", {}) for row in rows)
    return client.studies.create(
        dataset.name,
        probed.name,
        base.name,
        id=id,
        training={**training_for(client, base, rows), "max_steps": steps, "seed": seed},
        augmentation={"seed": seed},
        group_key=group_key or ("world" if made_world else ""),
        distinct_key="fact" if made_world else "",
        seed=seed,
        **spec,
    )


def same_with_documents(client: Client, before: studies_pb2.Study, documents: Path, id: str) -> Operation:
    """The earlier study's spec on the folder's present documents; its probes stay."""
    rows = read_rows(documents, without=[PROBES_FILE])
    dataset = upload(client, rows, documents.resolve().name, "documents")
    if dataset.name == before.spec.dataset:
        stderr.print("The documents are those of the earlier study: everything will be found.")
    spec = studies_pb2.StudySpec()
    spec.CopyFrom(before.spec)
    spec.dataset, spec.previous_study = dataset.name, before.name
    request = studies_pb2.CreateStudyRequest(
        parent=client.parent,
        study_id=id,
        study=studies_pb2.Study(display_name=before.display_name, spec=spec),
    )
    return client.operations.get(client.stubs.studies.CreateStudy(request).name)


def probes_path(documents: Path) -> Path:
    """Where probes lie by default: in the folder, or beside the file."""
    return documents / PROBES_FILE if documents.is_dir() else documents.with_suffix(f".{PROBES_FILE}")


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
    if known.state == common_pb2.CREATING:
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


def upload(client: Client, rows: list[dict[str, Any]], name: str, kind: str) -> Any:
    """Under a name from its content, so that the same rows are the same dataset."""
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{client.parent} {name} {kind} {digest}")
    id = f"{slug(name)}-{digest[:8]}"
    try:
        return client.datasets.upload(rows, id=id, kind=kind, display_name=name, request_id=str(identity))
    except errors.AlreadyExists:
        return client.datasets.get(full_name(client.parent, "datasets", id))


def make_probes(
    client: Client, rows: list[dict[str, Any]], dataset: str, model: str, seed: int
) -> list[dict[str, Any]]:
    known = probes.sentences(rows)
    preview = client.datasets.preview_augmentation(
        dataset, model, document_count=_PREVIEWED, strategies=["reverse"], samples_per_document=1, seed=seed
    )
    written = [json.loads(row).get("text", "") for row in preview.rows]
    reversals, dropped = probes.reversals(written, known, seed)
    if dropped:
        stderr.print(
            f"{dropped} of {dropped + len(reversals)} reversals by the model failed the check and are left out."
        )
    made = [*probes.verbatim(known, seed), *reversals, *probes.lists(known)]
    if not made:
        raise errors.Invalid(
            "no probes can be made: the documents hold too few plain sentences; write some: --probes p.jsonl",
            reason="NO_PROBES",
        )
    return made


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


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def slug(name: str) -> str:
    """An id from any name."""
    cleaned = re.sub(r"[^a-z0-9]+", "-", name.split("://")[-1].lower()).strip("-")
    return f"{'' if cleaned[:1].isalpha() else 'm-'}{cleaned}"[:50].rstrip("-").ljust(2, "0")


def folder_digest(folder: Path) -> str:
    """Changes when a checkpoint's files do; without reading them, because they may be large."""
    stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in checkpoint_files(folder.expanduser())]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:8]


def _counts(rows: list[dict[str, Any]]) -> str:
    kinds = [row["kind"] for row in rows]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
