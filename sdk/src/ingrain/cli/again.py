"""`ingrain study export|rerun`: a study as a folder, and the same study from such a folder."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from rich.table import Table

from ingrain import Client, errors, manifest
from ingrain.cli.output import Format, stderr, stdout
from ingrain.cli.progress import wait, wait_for_study
from ingrain.models import checkpoint_files, folder_sha256
from ingrain.names import full_name, short_id, target_of
from ingrain.rows import CHUNK_BYTES
from ingrain.v1 import datasets_pb2, studies_pb2

FORMS = {"report.json": "json", "report.html": "html", "report.md": "markdown"}


def export(client: Client, name: str, folder: Path, checkpoint: Path | None = None) -> None:
    """Writes the folder; what is in it already is written over. `checkpoint`: the model's files, copied too."""
    report = client.studies.report(name)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for field, dataset in manifest.named_datasets(report["inputs"]["spec"]).items():
        file = f"{manifest.DATASETS[field]}.jsonl"
        content = manifest.lines_of(raw_rows(client, dataset))
        (folder / file).write_bytes(content)
        files[field] = {
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "row_count": content.count(b"\n"),
        }
        known = client.datasets.get(dataset).sha256
        if known and known != files[field]["sha256"]:
            raise errors.Internal(f"{dataset} was read with another digest than it has; try again")
    for file, form in FORMS.items():
        content = report if form == "json" else client.studies.report(name, form)
        text = json.dumps(content, indent=1, ensure_ascii=False) if form == "json" else content
        (folder / file).write_text(text, encoding="utf-8")
    made = manifest.build(report, files)
    if checkpoint is not None:
        made["models"][0]["folder"] = copy_checkpoint(checkpoint, folder / "model", made["models"][0])
    (folder / manifest.FILE).write_text(
        json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    stderr.print(f"Written: {folder} ({len(files)} datasets, {manifest.FILE}, {', '.join(FORMS)})")
    for model in made["models"]:
        if "folder" in model:
            continue
        where = model["endpoint"] or model["source"] or "an upload"
        stderr.print(f"Not copied: {short_id(model['name'])}, from {where}, sha256 {model['sha256'][:12]}")


def copy_checkpoint(source: Path, to: Path, model: dict[str, Any]) -> str:
    """The name of the copy. Raises Invalid where these are other files than those that the study was made with."""
    paths = checkpoint_files(source.expanduser())
    digest = folder_sha256({path.name: file_sha256(path) for path in paths})
    if digest != model["sha256"]:
        raise errors.Invalid(
            f"{source} has sha256 {digest[:12]}, and {short_id(model['name'])} {model['sha256'][:12]}: other files"
        )
    to.mkdir(exist_ok=True)
    for path in paths:
        shutil.copyfile(path, to / path.name)
    return to.name


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def raw_rows(client: Client, dataset: str) -> list[str]:
    """As they are stored, so that digests hold."""
    request = datasets_pb2.ReadRowsRequest(name=dataset)
    return [row for message in client.stubs.datasets.ReadRows(request) for row in message.rows]


def rerun(
    client: Client, folder: Path, model: str, tolerance: float, output: Format
) -> list[manifest.Difference]:
    """The same study on this platform; the cells of its table that are not what they were."""
    made = manifest.read(folder)
    datasets = {
        field: upload(client, folder / entry["file"], entry["sha256"])
        for field, entry in made["datasets"].items()
    }
    models = {}
    for number, entry in enumerate(made["models"]):
        models[entry["name"]] = find_model(client, entry, model if number == 0 else "", folder, output)
    spec = manifest.spec_of(made, datasets, models)
    identity = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()
    name = full_name(client.parent, "studies", f"rerun-{identity[:12]}")
    study = find_or_create(client, name, spec, f"again: {made['title'] or made['study']}", output)
    report = client.studies.report(study.name)
    differences = manifest.compare(made["table"], manifest.table(report), tolerance)
    cells = sum(len(kinds) for kinds in made["table"].values())
    weights = manifest.build(report, {})["weights"]
    same = sum(weights.get(method) == digests for method, digests in made["weights"].items())
    stderr.print(
        f"{cells - len(differences)} of {cells} cells of the table are the same (within {tolerance:g})."
    )
    stderr.print(f"{same} of {len(made['weights'])} methods were answered by models of the same digest.")
    stderr.print(
        f"Recommended then: {made['recommendation'] or 'none'}; now: {report['recommendation']['method'] or 'none'}."
    )
    if differences:
        stdout.print(difference_table(differences), soft_wrap=False)
    return differences


def upload(client: Client, path: Path, sha256: str) -> str:
    """The dataset with this content, uploaded where it is not there yet."""
    id = f"{path.stem}-{sha256[:12]}"
    name = full_name(client.parent, "datasets", id)
    try:
        found = client.datasets.get(name)
    except errors.NotFound:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = client.datasets.upload(rows, id=id, display_name=path.stem)
    if found.sha256 and found.sha256 != sha256:
        raise errors.Invalid(
            f"{name} has sha256 {found.sha256[:12]}, and {path.name} {sha256[:12]}; delete the dataset"
        )
    return name


def find_model(client: Client, entry: dict[str, Any], given: str, folder: Path, output: Format) -> str:
    """A model of this digest: the one that was given, one that is there, the folder's copy, or one from where it came."""
    if given:
        found = client.models.get(given)
        if found.sha256 != entry["sha256"]:
            raise errors.Invalid(
                f"{found.name} has sha256 {found.sha256[:12]}, and the study was made with {entry['sha256'][:12]}"
            )
        return str(found.name)
    for known in client.models.list():
        if known.sha256 == entry["sha256"]:
            return str(known.name)
    source = str(folder / entry["folder"]) if "folder" in entry else entry["source"]
    if source in ("", "upload") or entry["endpoint"]:
        raise errors.Invalid(
            f"the model {short_id(entry['name'])} (sha256 {entry['sha256'][:12]}) is not on this platform; bring it in with "
            "`ingrain model import` and name it with --model"
        )
    stderr.print(f"Importing {source}.")
    imported = wait(client.models.import_(source, id=free_id(client, entry)), output)
    if imported.sha256 != entry["sha256"]:
        raise errors.Invalid(
            f"{source} has changed: sha256 {imported.sha256[:12]}, then {entry['sha256'][:12]}"
        )
    return str(imported.name)


def free_id(client: Client, entry: dict[str, Any]) -> str:
    """The id that it had, because cards and provenance name it and so do their digests; another where that is taken."""
    id = short_id(entry["name"])
    try:
        client.models.get(id)
    except errors.NotFound:
        return id
    return f"{id[:40]}-{entry['sha256'][:8]}"


def find_or_create(
    client: Client, name: str, spec: studies_pb2.StudySpec, title: str, output: Format
) -> studies_pb2.Study:
    try:
        client.studies.get(name)
        operation = next(iter(client.operations.list(name)))
    except errors.NotFound:
        request = studies_pb2.CreateStudyRequest(
            parent=client.parent,
            study_id=short_id(name),
            study=studies_pb2.Study(display_name=title[:200], spec=spec),
        )
        operation = client.operations.get(client.stubs.studies.CreateStudy(request).name)
    return wait_for_study(client, target_of(operation.name), operation, output)


def difference_table(differences: list[manifest.Difference]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("method", "kind", "then", "now"):
        table.add_column(title, justify="right" if title in ("then", "now") else "left")
    for one in differences:
        cells = ["-" if value is None else f"{value:.4f}" for value in (one.before, one.now)]
        table.add_row(one.method, one.kind, *cells)
    return table
