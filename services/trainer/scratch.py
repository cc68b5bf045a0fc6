"""Folders on this machine's scratch disk that belong to one attempt, and what killed processes left behind.

A folder's name begins with the operation's id: an attempt may take away what earlier ones of the same operation left, and whatever is
older than a week.
"""

import shutil
import time
from pathlib import Path

ABANDONED_S = 7 * 24 * 3600.0


def attempt_folder(scratch: Path, kind: str, prefix: str) -> Path:
    """Of the attempt under `prefix` (`.../{operation}-{fence}`); may not be there yet."""
    return scratch / kind / prefix.rsplit("/", 1)[-1]


def sweep(scratch: Path, kinds: tuple[str, ...], prefix: str) -> None:
    """Takes away the folders of earlier attempts of this operation, and abandoned ones of any."""
    own = prefix.rsplit("/", 1)[-1]
    operation = own.rsplit("-", 1)[0]
    for folder in [folder for kind in kinds for folder in (scratch / kind).glob("*")]:
        earlier = folder.name != own and folder.name.rsplit("-", 1)[0] == operation
        if earlier or older(folder, ABANDONED_S):
            shutil.rmtree(folder, ignore_errors=True)


def older(folder: Path, age_s: float) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > age_s
    except FileNotFoundError:
        return False


def bytes_free(folder: Path) -> int:
    """Where the folder lies or would lie."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
