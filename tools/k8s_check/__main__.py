"""`make k8s-check`: every golden rendering by every rule, the schemas, the planted faults; rendered anew where kubectl is there."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from tools.k8s_check import network, pods, quota, ray, references, rendering, variables, vllm
from tools.k8s_check.faults import Fault, faults
from tools.k8s_check.objects import Finding, Object, load, load_file, name_of

SECRETS = rendering.MANIFESTS / "required-secrets.yaml"
SCHEMA_PYTHON = rendering.ROOT / "build" / "k8s" / "bin" / "python"


def findings(objects: list[Object], own_digests: bool = False) -> list[Finding]:
    secrets = yaml.safe_load(SECRETS.read_text())
    return sorted(
        {
            *pods.check(objects, own_digests),
            *references.check(objects, secrets),
            *variables.check(objects),
            *ray.check(objects, secrets),
            *network.check(objects),
            *vllm.check(objects),
            *quota.check(objects),
        }
    )


def by_schemas(files: list[Path], crds: Path | None) -> dict:
    command = [str(SCHEMA_PYTHON), "-m", "tools.k8s_check.schemas", *(["--crds", str(crds)] if crds else [])]
    done = subprocess.run(
        [*command, *map(str, files)], capture_output=True, text=True, cwd=rendering.ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crds", type=Path, help="folder of KubeRay's CustomResourceDefinitions")
    parser.add_argument("--golden", action="store_true", help="write the golden renderings anew")
    parser.add_argument(
        "--own-digests", action="store_true", help="the platform's own images, too, by digest"
    )
    parser.add_argument("file", type=Path, nargs="*", help="these renderings instead of the golden ones")
    options = parser.parse_args()
    if options.golden:
        write_golden()
    files = options.file or [variant.golden for variant in rendering.GOLDEN]
    wrong = []
    for file in files:
        found = findings(load_file(file), options.own_digests)
        wrong += [f"{file.name}: {one}" for one in found]
    print(f"own rules: {len(files)} renderings, {len(wrong)} findings")
    if not options.file:
        wrong += rendered()
    wrong += schemas(files, options.crds)
    if not options.file:
        wrong += proved(options.crds)
    print("\n".join(wrong))
    return 1 if wrong else 0


def write_golden() -> None:
    rendering.GOLDEN_FOLDER.mkdir(parents=True, exist_ok=True)
    for variant in rendering.GOLDEN:
        variant.golden.write_text(rendering.render(variant))


def rendered() -> list[str]:
    """What kubectl makes of every combination now: those that are golden are as they were, and all keep the rules."""
    if not rendering.has_kubectl():
        print("kubectl with kustomize 5: not here, nothing was rendered anew")
        return []
    wrong = []
    for variant in rendering.ALL:
        text = rendering.render(variant)
        if variant in rendering.GOLDEN and text != variant.golden.read_text():
            wrong.append(
                f"{variant.name}: differs from {variant.golden.name}; look at it, then `make k8s-golden`"
            )
        wrong += [f"{variant.name}: {one}" for one in findings(load(text))]
    print(
        f"rendered: {len(rendering.ALL)} combinations, {len(rendering.GOLDEN)} of them compared with their golden files"
    )
    return wrong


def schemas(files: list[Path], crds: Path | None) -> list[str]:
    if not SCHEMA_PYTHON.exists():
        print("schemas: build/k8s is not there (make k8s-schemas), nothing was checked against them")
        return []
    told = by_schemas(files, crds)
    counts = told["counts"]
    print(
        f"schemas: Kubernetes {told['versions'][0]} to {told['versions'][-1]}: {counts['kubernetes']} objects; "
        f"KubeRay: {counts['kuberay']}{'' if crds else ' (no --crds)'}; without a schema at hand: {counts['unchecked']}"
    )
    return [f"{file}: {where}: {message} [{rule}]" for file, where, rule, message in told["findings"]]


def proved(crds: Path | None) -> list[str]:
    """Every planted fault is found."""
    planted = [fault for fault in faults() if not fault.is_of_schemas]
    missed = [fault for fault in planted if not is_found(fault)]
    if SCHEMA_PYTHON.exists() and crds:
        of_schemas = [fault for fault in faults() if fault.is_of_schemas]
        missed += missed_by_schemas(of_schemas, crds)
        planted += of_schemas
    print(f"planted faults: {len(planted) - len(missed)} of {len(planted)} found ({len(faults())} there are)")
    return [f"planted and not found: {fault.name} [{fault.found_by}]" for fault in missed]


def is_found(fault: Fault) -> bool:
    objects = load_file(rendering.Variant(fault.overlay).golden)
    return any(one.rule == fault.found_by for one in findings(fault.planted(objects)))


def missed_by_schemas(planted: list[Fault], crds: Path) -> list[Fault]:
    """Those that the schemas say nothing about; each fault's object in a file of its own."""
    with tempfile.TemporaryDirectory() as name:
        files = {}
        for number, fault in enumerate(planted):
            objects = fault.planted(load_file(rendering.Variant(fault.overlay).golden))
            files[fault] = Path(name) / f"{number}.yaml"
            files[fault].write_text(yaml.safe_dump(next(o for o in objects if name_of(o) == fault.owner)))
        told = {(file, rule) for file, _, rule, _ in by_schemas(list(files.values()), crds)["findings"]}
    return [fault for fault, file in files.items() if (file.name, fault.found_by) not in told]


if __name__ == "__main__":
    sys.exit(main())
