"""What a client shows: an API key or a token, as it was given, or from a file that is read again when it changed."""

import os
from collections.abc import Callable
from pathlib import Path

from ingrain import errors

KEY_VARIABLE = "INGRAIN_API_KEY"
FILE_VARIABLE = "INGRAIN_KEY_FILE"
Credential = Callable[[], str]


def credential(api_key: str | None) -> Credential:
    """The key given; None asks the environment, for the key itself or else for its file. Empty: none is shown."""
    if api_key is None and not os.environ.get(KEY_VARIABLE) and (path := os.environ.get(FILE_VARIABLE)):
        return KeyFile(Path(path))
    given = os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key
    return lambda: given


class KeyFile:
    """Tokens that a cluster projects into a pod end within the hour and are written anew before. Looked at for every call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._key = ""

    def __call__(self) -> str:
        """Raises Unauthenticated where the file cannot be read, or is empty."""
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._key = self._path.read_text(encoding="utf-8").strip()
                self._stamp = stamp
        except (OSError, ValueError) as error:
            raise errors.Unauthenticated(f"{FILE_VARIABLE}: {self._path} cannot be read: {error}") from None
        if not self._key:
            raise errors.Unauthenticated(f"{FILE_VARIABLE}: {self._path} is empty")
        return self._key
