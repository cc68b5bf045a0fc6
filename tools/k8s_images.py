"""The platform's images by digest: what a registry has under their tags, as a component for a kustomization.

    python -m tools.k8s_images registry.example/ingrain/ mine/images --overlay gpu

Asks the registry by `docker buildx imagetools inspect`, after the images were pushed, and writes mine/images/kustomization.yaml
anew. List `images` among the components of mine/kustomization.yaml: a tag that somebody moves changes nothing then.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tools.k8s_check import rendering
from tools.k8s_check.objects import Object, load, load_file, pods
from tools.k8s_check.pods import OWN_IMAGE

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("registry", help="prefix of the images in your registry, with its last slash")
    parser.add_argument("folder", type=Path, help="where the component is written")
    parser.add_argument("--overlay", choices=sorted(rendering.OPTIONAL), default="gpu")
    parser.add_argument(
        "--with", dest="components", nargs="*", default=[], help="components that bring images, as vllm"
    )
    options = parser.parse_args()
    variant = rendering.Variant(options.overlay, tuple(sorted(options.components)))
    objects = rendering_of(variant)
    try:
        images = [by_digest(name, tag, options.registry) for name, tag in own_images(objects)]
    except (subprocess.CalledProcessError, ValueError) as error:
        print(getattr(error, "stderr", "") or error, file=sys.stderr)
        return 1
    path: Path = options.folder / "kustomization.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "images": images}
    component |= of_jobs(objects, images)
    path.write_text("# Written by tools.k8s_images.\n" + yaml.safe_dump(component, sort_keys=False))
    print(f"{path}: {len(images)} images")
    return 0


def rendering_of(variant: rendering.Variant) -> list[Object]:
    """The committed rendering where there is one, else kubectl's."""
    return load_file(variant.golden) if variant.golden.exists() else load(rendering.render(variant))


def own_images(objects: list[Object]) -> list[tuple[str, str]]:
    """Name and tag of each. ValueError where one name has two tags: a kustomization tells images apart by name alone."""
    names = {container["image"] for pod in pods(objects) for container in pod.containers}
    found = sorted(tuple(name.rsplit(":", 1)) for name in names if name.startswith(OWN_IMAGE))
    if len({name for name, _ in found}) < len(found):
        raise ValueError(f"an image has two tags, and a kustomization cannot tell them apart: {found}")
    return [(name, tag) for name, tag in found]


def by_digest(name: str, tag: str, registry: str) -> dict[str, str]:
    """Of a kustomization's `images`. CalledProcessError where the registry has no such image."""
    there = registry + name.removeprefix(OWN_IMAGE)
    command = [
        "docker",
        "buildx",
        "imagetools",
        "inspect",
        "--format",
        "{{json .Manifest}}",
        f"{there}:{tag}",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    digest = json.loads(told).get("digest", "")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{there}:{tag}: no digest in what was told: {told[:200]}")
    return {"name": name, "newName": there, "digest": digest}


def of_jobs(objects: list[Object], images: list[dict[str, str]]) -> Object:
    """The image of RayJobs that the trainer makes: kustomize does not look into their template."""
    made = {c["image"] for pod in pods(objects) if pod.owner["kind"] == "RayJob" for c in pod.containers}
    used = [one for one in images if any(name.startswith(f"{one['name']}:") for name in made)]
    if not used:
        return {}
    (one,) = used
    variable = {"name": "INGRAIN_RAY_JOB_IMAGE", "value": f"{one['newName']}@{one['digest']}"}
    change = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "trainer"},
        "spec": {"template": {"spec": {"containers": [{"name": "trainer", "env": [variable]}]}}},
    }
    return {"patches": [{"patch": yaml.safe_dump(change, sort_keys=False)}]}


if __name__ == "__main__":
    sys.exit(main())
