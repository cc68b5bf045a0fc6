"""`make k8s-smoke KUBECONFIG=file`: installs an overlay, runs a study, asks the winner, uninstalls, writes what happened.

    python -m tools.k8s_smoke --kubeconfig ~/.kube/config --overlay laptop --images registry.example/ingrain/

Only for a cluster without a namespace `ingrain`; what is there beforehand is never touched. The result goes to
docs/clusters/<date>-<overlay>.json; until one is committed, the manifests were never applied to a cluster.
"""

import argparse
import base64
import datetime
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ingrain import Client, worlds
from tools import platform
from tools.k8s_check import rendering
from tools.k8s_check.objects import Object, name_of

T = TypeVar("T")
NAMESPACE = "ingrain"
SECRETS = rendering.MANIFESTS / "required-secrets.yaml"
RESULTS = rendering.ROOT / "docs" / "clusters"
READY_S = 1800  # of the engines on GPUs, whose images are large
STUDY_S = 3600
LOOKS = {
    "pods": ("get", "pods", "-o", "wide"),
    "warnings": ("get", "events", "--field-selector", "type=Warning", "--sort-by", "lastTimestamp"),
}


class Refused(Exception):
    """The cluster is not one to try this on."""


@dataclass
class Cluster:
    """A cluster by its kubeconfig."""

    kubeconfig: Path

    def run(self, *arguments: str, given: str = "") -> str:
        """CalledProcessError where kubectl fails; what it said is in it."""
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout

    def apply(self, objects: list[Object]) -> None:
        self.run("apply", "--server-side", "-f", "-", given=yaml.safe_dump_all(objects))

    def has_namespace(self) -> bool:
        return bool(self.run("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name").strip())


@dataclass
class Record:
    """What happened, in the order in which it did."""

    overlay: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def step(self, name: str, work: Callable[[], T]) -> T:
        begun = time.monotonic()
        entry: dict[str, Any] = {"step": name}
        self.steps.append(entry)
        print(f"{name} ...", flush=True)
        try:
            return work()
        except BaseException as error:
            entry["error"] = in_words(error)
            raise
        finally:
            entry["seconds"] = round(time.monotonic() - begun, 1)

    def write(self) -> Path:
        RESULTS.mkdir(parents=True, exist_ok=True)
        today = datetime.datetime.now(datetime.UTC)
        path = RESULTS / f"{today:%Y-%m-%d-%H%M}-{self.overlay}.json"
        passed = "answer" in self.facts and all("error" not in step for step in self.steps)
        body = {
            "date": f"{today:%Y-%m-%d}",
            "overlay": self.overlay,
            "passed": passed,
            **self.facts,
            "steps": self.steps,
        }
        path.write_text(json.dumps(body, indent=1) + "\n")
        return path


def in_words(error: BaseException) -> str:
    said = getattr(error, "stderr", "") or str(error)
    return f"{type(error).__name__}: {said.strip()[-2000:]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--overlay", choices=sorted(rendering.OPTIONAL), default="laptop")
    parser.add_argument(
        "--with", dest="components", nargs="*", default=[], help="components, for example s3 postgres"
    )
    parser.add_argument(
        "--images", default="ingrain/", help="prefix of the platform's images in your registry"
    )
    parser.add_argument("--keep", action="store_true", help="do not uninstall")
    options = parser.parse_args()
    variant = rendering.Variant(options.overlay, tuple(sorted(options.components)))
    record, cluster = Record(variant.name), Cluster(options.kubeconfig)
    # As Ctrl-C: what was installed goes, and what happened is written down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        smoke(cluster, record, variant, options.images, options.keep)
    except Refused as error:
        print(error)
        return 2
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        record.facts["error"] = in_words(error)
        print(record.facts["error"])
    path = record.write()
    print(f"Result: {path.relative_to(rendering.ROOT)}")
    return 0 if json.loads(path.read_text())["passed"] else 1


def smoke(cluster: Cluster, record: Record, variant: rendering.Variant, images: str, keep: bool) -> None:
    objects = with_images(rendering.render(variant), images)
    if cluster.has_namespace():
        raise Refused(f"there is a namespace {NAMESPACE} already; this is for a cluster without one")
    record.facts |= {"server": json.loads(cluster.run("version", "-o", "json")).get("serverVersion", {})}
    record.facts |= {"objects": len(objects)}
    kept = made_up()
    try:
        record.step(
            "namespace and secrets",
            lambda: cluster.apply([*of_kind(objects, "Namespace"), *as_secrets(kept)]),
        )
        record.step("apply", lambda: cluster.apply(objects))
        record.step("wait until all is ready", lambda: wait(cluster, objects))
        with forwarded(cluster) as address:
            key = kept["ingrain-identity"]["operator-token"]
            answer = record.step("a study, and its winner's answer", lambda: study(address, key))
        record.facts |= answer
    except BaseException:
        record.facts["cluster"] = look(cluster)
        raise
    finally:
        if not keep:
            record.step("uninstall", lambda: uninstall(cluster, objects))


def with_images(rendered: str, prefix: str) -> list[Object]:
    """Images of the platform under this prefix, the template of RayJobs included; others stay."""
    text = rendered.replace("image: ingrain/", f"image: {prefix}")
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def made_up() -> dict[str, dict[str, str]]:
    """A value for every key of every Secret; for the stores that the overlay brings along."""
    listed = yaml.safe_load(SECRETS.read_text())
    values = {name: {key: secrets.token_hex(32) for key in keys} for name, keys in listed.items()}
    password = values["ingrain-database"]["password"]
    values["ingrain-database"]["url"] = f"postgresql+psycopg://ingrain:{password}@postgres:5432/ingrain"
    for name in (
        "ingrain-tls",
        "ingrain-inside",
    ):  # certificates are not made up; only components ask for them
        del values[name]
    return values


def as_secrets(values: dict[str, dict[str, str]]) -> list[Object]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()},
        }
        for name, keys in values.items()
    ]


def wait(cluster: Cluster, objects: list[Object]) -> None:
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet"):
            cluster.run("-n", NAMESPACE, "rollout", "status", name_of(item).lower(), f"--timeout={READY_S}s")


@contextmanager
def forwarded(cluster: Cluster) -> Iterator[str]:
    """The gateway at a free port of this machine."""
    port = platform.free_port()
    command = [
        "kubectl",
        "--kubeconfig",
        str(cluster.kubeconfig),
        "-n",
        NAMESPACE,
        "port-forward",
        "service/gateway",
        f"{port}:7070",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, env=os.environ)
    try:
        platform.wait_for_port(port, 60)
        yield f"127.0.0.1:{port}"
    finally:
        platform.stop(process, 10)


def study(address: str, key: str) -> dict[str, Any]:
    """Invented documents, the bundled model, three methods; the winner is asked one of the questions."""
    world = worlds.suite(seed=7, reversal_worlds=2, facts=8, syllogism_worlds=0, catalogues=1)
    with Client(address, api_key=key) as client:
        documents = client.datasets.upload(world.documents)
        probes = client.datasets.upload(world.probes, kind="probes")
        model = client.models.import_("bundled://small").result(STUDY_S)
        wanted = {"methods": ["base", "icl", "finetune"], "training": {"max_steps": 100}}
        made = client.studies.create(
            documents.name, probes.name, model.name, group_key="world", distinct_key="fact", **wanted
        ).result(STUDY_S)
        question = next(probe["question"] for probe in world.probes if probe["kind"] == "list")
        return {
            "recommendation": made.recommendation.method,
            "question": question,
            "answer": client.ask(made.name, question),
        }


def look(cluster: Cluster) -> dict[str, str]:
    """What the cluster says, for whoever has to find out why it failed; it will be gone after this."""
    told = {}
    for what, arguments in LOOKS.items():
        try:
            told[what] = cluster.run("-n", NAMESPACE, *arguments)[-20_000:]
        except subprocess.CalledProcessError as error:
            told[what] = in_words(error)
    return told


def uninstall(cluster: Cluster, objects: list[Object]) -> None:
    """The namespace with all in it, and what lies outside of it."""
    cluster.run("delete", "namespace", NAMESPACE, "--wait=true", "--timeout=600s")
    outside = [item for item in objects if item["kind"] in ("ResourceFlavor", "ClusterQueue")]
    if outside:
        cluster.run("delete", "--ignore-not-found", "-f", "-", given=yaml.safe_dump_all(outside))


if __name__ == "__main__":
    sys.exit(main())
