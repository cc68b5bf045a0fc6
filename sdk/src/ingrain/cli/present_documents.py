"""`ingrain study again`: which documents are there now, are they others, and the same study on them."""

from pathlib import Path

from ingrain import Client, Operation, errors
from ingrain.cli.ending import tell
from ingrain.cli.folder_documents import documents_of
from ingrain.cli.output import Format, print_line, stderr
from ingrain.cli.own_documents import upload
from ingrain.names import short_id
from ingrain.v1 import common_pb2, datasets_pb2, studies_pb2


def present(client: Client, before: studies_pb2.Study, folder: Path | None) -> datasets_pb2.Dataset:
    """The folder's documents, uploaded where they are new; without a folder the newest dataset that has the title and
    kind of the study's."""
    if folder is not None:
        rows = documents_of(client, folder)
        return upload(client, rows, folder.resolve().name, "documents")
    own = client.datasets.get(before.spec.dataset)
    if not own.display_name:
        raise errors.Invalid(
            f"{own.name} has no title by which a newer one is found; name the documents' folder, or upload with a title"
        )
    for dataset in client.datasets.list():
        if (dataset.display_name, dataset.kind) == (own.display_name, own.kind) and is_usable(dataset):
            return dataset
    return own


def is_usable(dataset: datasets_pb2.Dataset) -> bool:
    return bool(dataset.state == common_pb2.ACTIVE)


def is_changed(client: Client, before: studies_pb2.Study, dataset: datasets_pb2.Dataset) -> bool:
    """By content: the same rows under another name are the same."""
    if dataset.name == before.spec.dataset:
        return False
    try:
        own = client.datasets.get(before.spec.dataset)
    except errors.NotFound:
        return True
    return not own.sha256 or own.sha256 != dataset.sha256


def unchanged(before: studies_pb2.Study, dataset: datasets_pb2.Dataset, output: Format) -> None:
    said = f"The documents of {short_id(before.name)} have not changed; nothing was begun."
    if output is Format.LINES:
        print_line("unchanged", study=before.name, dataset=dataset.name)
    stderr.print(said)
    tell("unchanged", 0, study=before.name, verdict=said)


def same_on(
    client: Client, before: studies_pb2.Study, dataset: datasets_pb2.Dataset, id: str, request_id: str
) -> Operation:
    """The earlier study's spec on these documents; its probes stay."""
    if dataset.name == before.spec.dataset:
        stderr.print("The documents are those of the earlier study: everything will be found.")
    spec = studies_pb2.StudySpec()
    spec.CopyFrom(before.spec)
    spec.dataset, spec.previous_study = dataset.name, before.name
    request = studies_pb2.CreateStudyRequest(
        parent=client.parent,
        study_id=id,
        study=studies_pb2.Study(display_name=before.display_name, spec=spec),
        request_id=request_id,
    )
    return client.operations.get(client.stubs.studies.CreateStudy(request).name)
