"""Overlays and components as kubectl renders them. Golden renderings lie in tests/golden/k8s, one file for each entry of `GOLDEN`."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "k8s"
GOLDEN_FOLDER = ROOT / "tests" / "golden" / "k8s"
OPTIONAL = {
    "laptop": ("monitoring", "mtls", "oidc", "tls"),
    "gpu": ("kueue", "monitoring", "mtls", "oidc", "postgres", "s3", "tls", "vllm"),
}
LEAST_KUSTOMIZE = (5, 0)


@dataclass(frozen=True, order=True)
class Variant:
    overlay: str
    components: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "+".join((self.overlay, *self.components))

    @property
    def golden(self) -> Path:
        return GOLDEN_FOLDER / f"{self.name}.yaml"


def _some(names: tuple[str, ...], counts: range) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(names, count) for count in counts))


ALL = sorted(
    Variant(o, some) for o, names in OPTIONAL.items() for some in _some(names, range(len(names) + 1))
)
# The committed ones: each overlay alone, with each component, and with all.
GOLDEN = [v for v in ALL if len(v.components) in (0, 1, len(OPTIONAL[v.overlay]))]


def has_kubectl() -> bool:
    """Whether a kubectl is here whose kustomize reads these manifests."""
    if not shutil.which("kubectl"):
        return False
    told = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True)
    try:
        version = json.loads(told.stdout).get("kustomizeVersion", "")
    except json.JSONDecodeError:
        return False
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return bool(found) and tuple(map(int, found.groups())) >= LEAST_KUSTOMIZE  # type: ignore[union-attr]


def render(variant: Variant) -> str:
    """RuntimeError with kubectl's words where it refuses."""
    if not variant.components:
        return _kustomize(MANIFESTS / "overlays" / variant.overlay)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        there = os.path.relpath(MANIFESTS, folder)
        lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "resources:"]
        lines += [f"  - {there}/overlays/{variant.overlay}", "components:"]
        lines += [f"  - {there}/components/{component}" for component in variant.components]
        (folder / "kustomization.yaml").write_text("\n".join(lines) + "\n")
        return _kustomize(folder)


def _kustomize(folder: Path) -> str:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{folder.name}: {done.stderr.strip()}")
    return done.stdout
