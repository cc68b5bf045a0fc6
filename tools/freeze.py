"""Rewrites constraints.txt from what is installed here: all that the two projects need, at any depth, and nothing else.

    .venv/bin/python -m tools.freeze

Versions go without their local part (`2.13.0`, not `2.13.0+cpu`), so that machines with and without a GPU each find
their own build; what only CUDA builds of torch need is not there where this runs, and stays free.
"""

import importlib.metadata
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
OWN = {"ingrain", "ingrain-platform"}
# Of the tools that install the others every machine has its own.
NOT_PINNED = OWN | {"pip", "setuptools", "wheel"}
HEADER = "# Written by tools/freeze.py: the versions that the tests ran with.\n"


def asked_for() -> list[Requirement]:
    """By the two projects, with every extra."""
    texts: list[str] = []
    for file in (ROOT / "pyproject.toml", ROOT / "sdk" / "pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        texts += project["dependencies"]
        texts += [text for extra in project.get("optional-dependencies", {}).values() for text in extra]
    return [Requirement(text) for text in texts]


def versions(asked: list[Requirement]) -> dict[str, str]:
    """By name, of what is asked for and all that it needs in turn."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(asked)
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in NOT_PINNED or (name, extras) in seen:
            continue
        seen.add((name, extras))
        installed = importlib.metadata.distribution(name)
        found[name] = Version(installed.version).public
        for further in map(Requirement, installed.requires or []):
            marker = further.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
                waiting.append(further)
    return found


def text() -> str:
    return HEADER + "".join(f"{name}=={version}\n" for name, version in sorted(versions(asked_for()).items()))


if __name__ == "__main__":
    (ROOT / "constraints.txt").write_text(text())
