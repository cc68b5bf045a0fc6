"""One contract, two platforms: every test here asks the fake of `python -m ingrain.testing` and the real one the same.

The fake's half needs no Ray and runs with the quick tests; the real half takes the platform of all end-to-end tests.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from ingrain import Client
from tests.e2e.contract.asked import Contract
from tools.platform import stop


@pytest.fixture(scope="session")
def fake_address() -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "ingrain.testing",
        "--port",
        "0",
        "--step-s",
        "0.5",  # a study of five methods is paused within 2.5 s of its beginning
        "--heartbeat-s",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    yield process.stdout.readline().rpartition(" ")[2].strip()
    stop(process, 10)


@pytest.fixture(scope="session", params=["fake", pytest.param("real", marks=pytest.mark.ray)])
def address(request: pytest.FixtureRequest) -> str:
    fixture = "fake_address" if request.param == "fake" else "platform_address"
    return str(request.getfixturevalue(fixture))


@pytest.fixture(scope="session")
def contract(address: str) -> Iterator[Contract]:
    with Client(address, timeout_s=120) as client:
        yield Contract(client)
