"""Planted faults (faults.yaml): put into a rendering, and looked for."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.k8s_check.objects import Object, name_of

FILE = Path(__file__).with_name("faults.yaml")


@dataclass(frozen=True, eq=False)
class Fault:
    name: str
    overlay: str
    at: str
    value: Any
    edit: tuple[str, str] | None
    found_by: str

    @property
    def is_of_schemas(self) -> bool:
        return self.found_by.startswith("schema-")

    @property
    def owner(self) -> str:
        return self.at.partition(" ")[0]

    def planted(self, objects: list[Object]) -> list[Object]:
        """A copy of the rendering with the fault in it. LookupError where its place is not there."""
        planted = deepcopy(objects)
        (item,) = [one for one in planted if name_of(one) == self.owner]
        *way, last = _parts(self.at.partition(" ")[2])
        for part in way:
            item = item[part]
        if self.edit:
            before, after = self.edit
            if before not in item[last]:
                raise LookupError(f"{self.name}: {before} is not in {self.at}")
            item[last] = item[last].replace(before, after)
        elif self.value is None:
            del item[last]
        else:
            item[last] = self.value
        return planted


def _parts(path: str) -> list[Any]:
    """Names and positions; no name on the way has a dot in it."""
    return [int(part) if part.isdigit() else part for part in path.split(".")]


def faults() -> list[Fault]:
    return [
        Fault(
            one["fault"],
            one["in"],
            one["at"],
            one.get("set"),
            tuple(one["edit"]) if "edit" in one else None,
            one["found_by"],
        )
        for one in yaml.safe_load(FILE.read_text())
    ]
