"""Kubernetes' own schemas and KubeRay's, strict: a field that they do not know is an error.

Runs in an environment of its own, which has the kubernetes-validate package (`make build/k8s/.stamp`); prints findings as JSON.
KubeRay's come from a folder of its CustomResourceDefinitions; their CEL rules are not evaluated.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tools.k8s_check.objects import Object, load, name_of

OLDEST = (1, 28)
Told = list[tuple[str, str, str, str]]  # file, where, rule, message


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crds", type=Path)
    parser.add_argument("file", type=Path, nargs="+")
    options = parser.parse_args()
    crds = read_crds(options.crds) if options.crds else {}
    seen: dict[str, tuple[str, Object]] = {}
    for file in options.file:
        for item in load(file.read_text()):
            seen.setdefault(json.dumps(item, sort_keys=True, default=str), (file.name, item))
    told: Told = []
    counts = {"objects": len(seen), "kubernetes": 0, "kuberay": 0, "unchecked": 0}
    for file_name, item in seen.values():
        kind, found = checked(item, crds)
        counts[kind] += 1
        told += [(file_name, name_of(item), *one) for one in found]
    json.dump({"versions": versions(), "counts": counts, "findings": told}, sys.stdout)


def checked(item: Object, crds: dict[tuple[str, str], Object]) -> tuple[str, list[tuple[str, str]]]:
    """By which schemas, and what they say: rules and messages."""
    import jsonschema

    key = (item.get("apiVersion", ""), item.get("kind", ""))
    if key in crds:
        errors = jsonschema.Draft202012Validator(crds[key]).iter_errors(item)
        return "kuberay", [("schema-kuberay", said(error)) for error in errors]
    if "." in key[0] and not key[0].split("/")[0].endswith("k8s.io"):
        return "unchecked", []
    if key[0].startswith("kueue."):
        return "unchecked", []
    return "kubernetes", list(by_versions(item))


def by_versions(item: Object) -> Iterator[tuple[str, str]]:
    from kubernetes_validate import utils

    if not hasattr(
        utils.schema_contents, "cache_info"
    ):  # else its definitions are parsed anew for every object
        utils.schema_contents = lru_cache(maxsize=None)(utils.schema_contents)
    for version in versions():
        try:
            utils.validate(item, version, strict=True)
        except utils.ValidationError as error:
            yield "schema-kubernetes", f"{version}: {said(error)}"
        except utils.SchemaNotFoundError as error:
            yield "schema-kubernetes", f"{version}: {error.message}"


def versions() -> list[str]:
    """From 1.28 to the newest that the package knows."""
    from kubernetes_validate import utils

    found = {tuple(map(int, utils.major_minor(version).split("."))) for version in utils.all_versions()}
    return [f"{major}.{minor}" for major, minor in sorted(found) if (major, minor) >= OLDEST]


def said(error: Any) -> str:
    path = ".".join(str(part) for part in getattr(error, "path", ()))
    return f"{path}: {str(error.message).splitlines()[0][:200]}"


def read_crds(folder: Path) -> dict[tuple[str, str], Object]:
    """JSON schemas by apiVersion and kind; FileNotFoundError where the folder holds no definitions."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        definition = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
        for version in definition["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            found[(f"{group}/{version['name']}", kind)] = schema
    if not found:
        raise FileNotFoundError(f"{folder} holds no CustomResourceDefinition")
    return found


def strict(schema: Object) -> Object:
    """As the API server reads it, but that unknown fields, which it would drop in silence, are errors."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    out = {
        k: v
        for k, v in schema.items()
        if k
        in ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
    }
    if "properties" in schema:
        out["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        out["items"] = strict(schema["items"])
    if required := [
        name for name in schema.get("required", []) if "default" not in schema["properties"].get(name, {})
    ]:
        out["required"] = required
    return {"anyOf": [out, {"type": "null"}]} if schema.get("nullable") else out


if __name__ == "__main__":
    main()
