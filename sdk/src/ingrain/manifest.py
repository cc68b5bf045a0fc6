"""A study as a folder: what went in, with digests, and the table that came out, so that anyone can obtain it again.

manifest.json (schema `ingrain.manifest/1`), the datasets as JSONL, and the report in its three forms. Models are not
copied unless asked for: the manifest says where each came from and its digest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict

from ingrain import errors
from ingrain.v1 import studies_pb2

SCHEMA = "ingrain.manifest/1"
FILE = "manifest.json"
# Fields of StudySpec that name datasets, and what the file of each is called.
DATASETS = {
    "dataset": "documents",
    "probes": "probes",
    "retention.text": "retained-text",
    "retention.probes": "retained-probes",
    "retention.context": "retained-context",
    "retention.context_probes": "retained-context-probes",
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """A cell of the table that is not what it was; None: not there."""

    method: str
    kind: str
    before: float | None
    now: float | None


def named_datasets(spec: Mapping[str, Any]) -> dict[str, str]:
    """Field -> name, of those that the spec names."""
    found = {field: _at(spec, field) for field in DATASETS}
    return {field: name for field, name in found.items() if name}


def build(report: Json, files: Mapping[str, Json]) -> Json:
    """`files`: by field of the spec, `{"file", "sha256", "row_count"}`."""
    inputs, made = report["inputs"], outputs(report)
    return {
        "schema": SCHEMA,
        "study": report["study"],
        "title": report["title"],
        "end_time": report["end_time"],
        "spec": inputs["spec"],
        "datasets": dict(files),
        "models": [
            {key: model[key] for key in ("name", "source", "sha256", "endpoint")} for model in _models(inputs)
        ],
        "steps": [
            {
                **{key: step[key] for key in ("id", "fingerprint", "resource")},
                "sha256": made.get(step["resource"]),
            }
            for step in report["steps"]
        ],
        "weights": {m: [one["model_sha256"] for one in e["seeds"]] for m, e in report["methods"].items()},
        "environment": report["environment"],
        "prices": report["prices"],
        "recommendation": report["recommendation"]["method"],
        "table": table(report),
    }


def _models(inputs: Json) -> list[Json]:
    """Each that the study asked, once; first its own. Reports of earlier releases name no judges."""
    others = (inputs.get(role) for role in ("generator", "judge", "answer_judge"))
    asked = [inputs["model"], *inputs["contenders"], *(model for model in others if model)]
    return list({model["name"]: model for model in asked}.values())


def outputs(report: Json) -> dict[str, str]:
    """Digests of what steps made, by name; evaluations have none, they follow from weights and probes."""
    derived = {entry["dataset"]: entry["sha256"] for entry in report["augmentation"].values()}
    weights = {
        one["model"]: one["model_sha256"] for entry in report["methods"].values() for one in entry["seeds"]
    }
    return derived | weights


def table(report: Json) -> dict[str, dict[str, float]]:
    """Share right by method and kind."""
    return {
        method: {kind: found["accuracy"] for kind, found in entry["kinds"].items()}
        for method, entry in report["methods"].items()
    }


def compare(
    before: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]], tolerance: float
) -> list[Difference]:
    """Cells that differ by more than `tolerance`, and those that only one table has."""
    found = []
    for method in dict.fromkeys([*before, *now]):
        ours, theirs = before.get(method, {}), now.get(method, {})
        for kind in dict.fromkeys([*ours, *theirs]):
            one, other = ours.get(kind), theirs.get(kind)
            if one is None or other is None or abs(one - other) > tolerance:
                found.append(Difference(method, kind, one, other))
    return found


def read(folder: Path) -> Json:
    """The manifest, its files checked against their digests. Raises Invalid that names what is wrong."""
    try:
        manifest: Json = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise errors.Invalid(
            f"{folder} has no {FILE}; make one with: ingrain study export NAME {folder}"
        ) from None
    except ValueError as error:
        raise errors.Invalid(f"{folder / FILE} is no JSON: {error}") from None
    if manifest.get("schema") != SCHEMA:
        raise errors.Invalid(f"{folder / FILE} has schema {manifest.get('schema')!r}; this is for {SCHEMA}")
    for field, entry in manifest["datasets"].items():
        path = folder / entry["file"]
        if not path.is_file():
            raise errors.Invalid(f"{path} is missing: the study's {field}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != entry["sha256"]:
            raise errors.Invalid(
                f"{path} has sha256 {digest[:12]}, and the study read {entry['sha256'][:12]}: it was changed"
            )
    return manifest


def spec_of(manifest: Json, datasets: Mapping[str, str], models: Mapping[str, str]) -> studies_pb2.StudySpec:
    """The spec with the names that datasets (by field) and models (by their name then) have here."""
    spec = json.loads(json.dumps(manifest["spec"]))
    for field, name in datasets.items():
        *path, last = field.split(".")
        inner = spec
        for part in path:
            inner = inner[part]
        inner[last] = name
    augmentation = spec.get("augmentation", {})
    for inner in (spec, *spec.get("contenders", []), spec.get("judge", {}), augmentation):
        if name := inner.get("model"):
            inner["model"] = models.get(name, name)
    if name := augmentation.get("gates", {}).get("judge"):
        augmentation["gates"]["judge"] = models.get(name, name)
    spec.pop("previous_study", None)
    return ParseDict(spec, studies_pb2.StudySpec())


def lines_of(rows: Sequence[str]) -> bytes:
    """Rows as the platform stores them."""
    return b"".join(row.encode() + b"\n" for row in rows)


def _at(spec: Mapping[str, Any], field: str) -> str:
    value: Any = spec
    for part in field.split("."):
        value = value.get(part, {}) if isinstance(value, Mapping) else {}
    return value if isinstance(value, str) else ""
