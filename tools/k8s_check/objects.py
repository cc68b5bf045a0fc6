"""Documents as kubectl renders them, and the pods in them, of whatever kind they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]


@dataclass(frozen=True, order=True)
class Finding:
    """`where` is Kind/name, for pods with the container; `rule` is what tests and patches are named by."""

    where: str
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Pod:
    """A pod template somewhere in an object. `path` tells several of one object apart."""

    owner: Object
    path: str
    template: Object

    @property
    def where(self) -> str:
        return f"{name_of(self.owner)}{self.path}"

    @property
    def spec(self) -> Object:
        return self.template.get("spec") or {}

    @property
    def labels(self) -> dict[str, str]:
        return (self.template.get("metadata") or {}).get("labels") or {}

    @property
    def component(self) -> str:
        return self.labels.get("app.kubernetes.io/component", "")

    @property
    def is_ray(self) -> bool:
        return self.owner.get("apiVersion", "").startswith("ray.io/")

    @property
    def containers(self) -> list[Object]:
        return [*(self.spec.get("initContainers") or []), *(self.spec.get("containers") or [])]


def load(text: str) -> list[Object]:
    """With the RayJob that lies in a ConfigMap as a template, as if it was an object."""
    objects = [document for document in yaml.safe_load_all(text) if document]
    return [*objects, *_templates_of_jobs(objects)]


def _templates_of_jobs(objects: list[Object]) -> Iterator[Object]:
    """With the image that the trainer puts in."""
    maps = [item for item in objects if item.get("kind") == "ConfigMap"]
    variables = [v for pod in pods(objects) for c in pod.containers for v in c.get("env") or []]
    image = next((v["value"] for v in variables if v["name"] == "INGRAIN_RAY_JOB_IMAGE"), "")
    for text in [text for one in maps for text in (one.get("data") or {}).values()]:
        if "kind: RayJob" not in text:
            continue
        template = yaml.safe_load(text)
        for container in [c for pod in pods([template]) for c in pod.containers if image]:
            container["image"] = image
        yield template


def load_file(path: Path) -> list[Object]:
    return load(path.read_text())


def name_of(item: Object) -> str:
    return f"{item.get('kind', '?')}/{(item.get('metadata') or {}).get('name', '?')}"


def named(objects: list[Object], kind: str) -> dict[str, Object]:
    return {o["metadata"]["name"]: o for o in objects if o.get("kind") == kind}


def pods(objects: list[Object]) -> list[Pod]:
    """Every pod template in every object, found by its shape, so that no kind can be forgotten."""
    return [Pod(item, path, template) for item in objects for path, template in _templates(item, "")]


def _templates(value: Any, path: str) -> Iterator[tuple[str, Object]]:
    if isinstance(value, dict):
        if _is_pod_spec(value.get("spec")):
            yield path, value
            return
        for key, part in value.items():
            yield from _templates(part, f"{path}.{key}" if key != "template" else path)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _templates(part, f"{path}[{index}]")


def _is_pod_spec(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("containers"), list)
