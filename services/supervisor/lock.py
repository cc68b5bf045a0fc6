"""One platform per data folder. The lock is the kernel's: it goes with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(RuntimeError):
    """A platform runs on this data folder."""


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    with lock_file(data_dir).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"a platform runs on {data_dir} already (process {holder(data_dir)}); stop it first, "
                "or take another --data-dir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def holder(data_dir: Path) -> int:
    """Process id of the supervisor that holds the lock; 0 where none does."""
    try:
        with lock_file(data_dir).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except FileNotFoundError:
        pass
    return 0


def lock_file(data_dir: Path) -> Path:
    return data_dir / "run" / "supervisor.pid"
