"""What the Dockerfile does, as far as a machine without a container engine can: its script in a copy of what it copies."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.k8s_check.rendering import ROOT

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COPIED = [line.split()[1:] for line in re.findall(r"^COPY (?!--from).*$", DOCKERFILE, re.MULTILINE)]


def test_what_is_copied_is_there_and_let_through() -> None:
    let_through = {
        line.removeprefix("!")
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources = {source for *names, _ in COPIED for source in names}
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)


def test_it_runs_as_the_user_of_the_manifests_and_on_a_read_only_root() -> None:
    assert "USER 10001:10001" in DOCKERFILE
    assert set(re.findall(r'"(/\w+)"', re.findall(r"VOLUME \[.*\]", DOCKERFILE)[0])) == {"/tmp", "/scratch"}


def test_nothing_is_taken_that_is_not_locked() -> None:
    script = (DOCKER / "install.sh").read_text()
    installs = re.findall(r"-m pip install [^\n]*", script)
    assert len(installs) == 2
    assert '--constraint "$LOCKED"' in installs[0]
    assert re.findall(r"^ *LOCKED=(.*)$", script, re.MULTILINE) == ["constraints.txt", "$PREFIX/constraints.txt"]
    # vLLM's image: what is not locked there.
    assert re.findall(r"grep -vE '(.*)' constraints.txt", script) == ["^(fastapi|llguidance|numpy)=="]
    assert installs[1].endswith("$EXTRA")


@pytest.mark.slow
@pytest.mark.parametrize("service", ["gateway", "cli"])
def test_the_same_commands_in_a_clean_tree(service: str, tmp_path: Path) -> None:
    """Started from another folder, with nothing of this checkout on its path."""
    source, prefix = tmp_path / "source", tmp_path / "opt"
    for *names, target in COPIED:
        for name in names:
            place = source / target if len(names) == 1 else source / target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, place)
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "INGRAIN", "VIRTUAL"))
    }
    subprocess.run(
        ["sh", "deploy/docker/install.sh"],
        cwd=source,
        env=variables | {"SERVICE": service, "PREFIX": str(prefix)},
        check=True,
        timeout=500,
    )
    shutil.rmtree(source)
    command = ["ingrain", "--help"] if service == "cli" else ["python", "-c", GATEWAY]
    done = subprocess.run(
        [str(prefix / "bin" / command[0]), *command[1:]],
        cwd=tmp_path,
        env={"PATH": f"{prefix}/bin:/usr/bin:/bin", "INGRAIN_PORT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


GATEWAY = """
import asyncio, sys
import services.gateway.__main__
from services.gateway.server import build
from services.gateway.settings import GatewaySettings
async def main():
    gateway = await build(GatewaySettings(database_url="sqlite://"))
    await gateway.server.start()
    await gateway.stop(0)
asyncio.run(main())
heavy = {"torch", "ray", "transformers", "deepspeed"} & set(sys.modules)
assert not heavy, heavy
"""
