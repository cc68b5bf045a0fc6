"""Probes for documents that come with none: written by the model and checked, and taken from the documents."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingrain import Client, errors, probes
from ingrain.cli.output import Format, stderr
from ingrain.cli.progress import wait

FILE = "probes.jsonl"
_PREVIEWED = 20  # documents whose reversals the model writes
_LEAST = 12  # written probes that are a set

Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """`labels`: who wrote them and how far to trust them, for the dataset and the report."""

    rows: list[Row]
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> str:
        kinds = [row["kind"] for row in self.rows]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def path(documents: Path) -> Path:
    """Where probes lie by default: in the folder, or beside the file."""
    return documents / FILE if documents.is_dir() else documents.with_suffix(f".{FILE}")


def make(
    client: Client,
    rows: list[Row],
    dataset: str,
    model: str,
    group_key: str,
    seed: int,
    output: Format,
) -> Made:
    """Written ones; where the model writes too few that pass the checks, taken ones too."""
    written = generated(client, dataset, model, group_key, seed, output)
    taken = [] if len(written.rows) >= _LEAST else extracted(client, rows, dataset, model, seed)
    known = {row["kind"] for row in written.rows}
    made = [*written.rows, *(row for row in taken if row["kind"] not in known)]
    if not made:
        raise errors.Invalid(
            "no probes can be made: the documents hold too few plain sentences; write some: --probes p.jsonl",
            reason="NO_PROBES",
        )
    return Made(made, written.labels)


def generated(client: Client, dataset: str, model: str, group_key: str, seed: int, output: Format) -> Made:
    """Those that pass all checks; none where no draft does."""
    try:
        operation = client.evaluations.generate_probes(dataset, model, group_key=group_key, seed=seed)
        found = wait(operation, output)
    except errors.OperationFailed as error:
        stderr.print(f"The model wrote no probes that can be used: {error.message}")
        return Made([])
    return Made(list(client.datasets.rows(found.name)), dict(found.labels))


def extracted(client: Client, rows: list[Row], dataset: str, model: str, seed: int) -> list[Row]:
    """From the documents' own sentences, and from reversals by the model that pass a check without a model."""
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
    return [*probes.verbatim(known, seed), *reversals, *probes.lists(known)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
