"""A folder's documents for a study: read here where they are text, by the platform where it takes more."""

import uuid
from pathlib import Path
from typing import Any

from ingrain import Client, errors
from ingrain.cli import own_probes
from ingrain.cli.counted import skipped
from ingrain.cli.output import stderr
from ingrain.names import full_name
from ingrain.packing import for_platform, packed
from ingrain.rows import Spool, read_rows


def documents_of(client: Client, documents: Path) -> list[dict[str, Any]]:
    """Rows of the file or folder, without the probes beside them. What the platform read lies there under a name from its
    content, so that the same files are read once; what it skipped is told."""
    path = documents.expanduser()
    if not for_platform(path):
        return read_rows(path, without=[own_probes.FILE])
    file, sha256, name = packed(path, without=[own_probes.FILE])
    with file:
        id = f"files-{sha256[:16]}"
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{client.parent} {name} {sha256}")
        try:
            made = client.datasets.upload(
                Spool(file, sha256, 0, name), id=id, display_name=f"{name}, as read", request_id=str(identity)
            )
        except errors.AlreadyExists:
            made = client.datasets.get(full_name(client.parent, "datasets", id))
    if left_out := skipped(made):
        stderr.print(f"Skipped of {documents}:\n{left_out}", markup=False)
    return list(client.datasets.rows(made.name))
