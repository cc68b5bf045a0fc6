"""A Ray head that takes connections and answers nothing, as one whose machine is gone in the middle of a call."""

import socket
import threading
from collections.abc import Iterator

import pytest

from servicekit.errors import Unavailable
from services.trainer import jobs
from services.trainer.settings import TrainerSettings


@pytest.fixture
def silent() -> Iterator[str]:
    kept = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    kept.append(server.accept())
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection, _ in kept:
        connection.close()


async def test_it_is_not_waited_for_without_end(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ANSWER_SECONDS", 0.2)
    settings = TrainerSettings(ray_dashboard=silent, attach_wait_s=0.1)
    with pytest.raises(Unavailable) as caught:
        await jobs.RayJobs(settings).status("nothing")
    assert caught.value.reason == "RAY_UNREACHABLE"
