"""Client: plain code, notebooks, Ctrl-C."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

from ingrain import Client, Operation, errors
from ingrain.testing import FakePlatform
from ingrain.v1 import datasets_pb2


def test_everything_is_plain(client: Client, documents) -> None:
    dataset = client.datasets.upload(documents, id="docs")
    assert isinstance(dataset, datasets_pb2.Dataset)
    assert list(client.datasets.rows("docs")) == documents
    operation = client.models.import_("org/small", id="small")
    assert isinstance(operation, Operation)
    assert operation.result().name == "projects/default/models/small"
    assert operation.done
    assert client.operations.get(operation.name).refresh().done
    assert client.operations.wait(operation).name == "projects/default/models/small"
    assert [m.stage for m in client.models.create("small", "docs").progress()][-1] == "training"
    assert client.ask("small", "Which tool?", dataset="docs") == documents[0]["text"]
    name = datasets_pb2.GetDatasetRequest(name=dataset.name)
    assert client.stubs.datasets.GetDataset(name) == dataset
    assert client.parent == "projects/default"


def test_errors_are_the_same(client: Client) -> None:
    with pytest.raises(errors.NotFound):
        client.datasets.get("nothing")
    with pytest.raises(errors.NotFound):
        list(client.datasets.rows("nothing"))
    with pytest.raises(AttributeError):
        client.datasets.nonsense  # noqa: B018


def test_help_shows_the_real_signature(client: Client) -> None:
    import inspect

    assert "display_name" in inspect.signature(client.datasets.upload).parameters
    assert "upload" in dir(client.datasets)


async def test_works_inside_a_running_loop(platform: FakePlatform, documents) -> None:
    """As in a notebook: plain calls in a coroutine, while the loop has other tasks."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    with Client(platform.target) as client:
        client.datasets.upload(documents, id="docs")
        assert [row["id"] for row in client.datasets.rows("docs")] == ["1", "2", "3"]
        model = client.models.import_("org/small").result()
    assert model.name
    await asyncio.sleep(0.01)
    task.cancel()
    assert ticks > 1


def test_many_threads_share_one_client(client: Client, documents) -> None:
    def upload(number: int) -> None:
        client.datasets.upload(documents, id=f"d{number}")

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(client.datasets.list())) == 8


def test_abandoned_iterator_leaves_the_client_usable(client: Client) -> None:
    client.datasets.upload([{"text": str(n)} for n in range(1000)], id="many")
    for row in client.datasets.rows("many"):
        assert row["text"] == "0"
        break
    assert client.datasets.get("many").row_count == 1000


SCRIPT = """
import sys
from ingrain import Client
from ingrain.errors import Detached

client = Client(sys.argv[1])
operation = client.models.import_("org/small", id="small")
print("waiting", flush=True)
try:
    {wait}
except Detached as detached:
    print(detached, flush=True)
    print(detached.operation == operation.name, flush=True)
    print(client.models.get("small").name, flush=True)  # the client still works
"""


@pytest.mark.parametrize(
    "wait", ["operation.result()", "list(operation.progress())", "client.operations.wait(operation)"]
)
def test_ctrl_c_detaches_and_the_work_goes_on(wait: str, waited: threading.Event) -> None:
    with FakePlatform(step_s=1.5) as platform, Client(platform.target) as client:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(wait=wait), platform.target],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "waiting\n"
        assert waited.wait(20)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert process.returncode == 0, err
        told, same, model = out.splitlines()
        assert "goes on" in told
        assert "client.operations.get(" in told
        assert same == "True"
        assert model == "projects/default/models/small"
        name = told.split(" ")[0]
        assert client.operations.get(name).result(timeout_s=10).name == model


def test_waiting_survives_a_restart_of_the_platform(platform: FakePlatform, client: Client) -> None:
    platform.store._step_s = 0.5
    operation = client.models.import_("org/small")
    platform.stop()
    restart = threading.Timer(2.5, platform.start)
    restart.start()
    assert operation.result(timeout_s=30).state
    restart.join()


def test_a_signal_just_after_a_call_was_begun_leaves_nothing_running(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is raised the call ends before the stream is closed, which would refuse while it runs."""
    operation = client.models.import_("org/small", id="cut")
    loop = client._loop._loop
    begin = loop.call_soon_threadsafe
    calls = 0

    def interrupted(callback, *args):
        nonlocal calls
        handle = begin(callback, *args)
        calls += getattr(callback, "__name__", "") == "begin"
        if calls == 3:
            calls += 1
            raise KeyboardInterrupt
        return handle

    monkeypatch.setattr(loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        for _ in operation.progress():
            pass
    monkeypatch.undo()
    assert operation.result().name.endswith("/cut")
