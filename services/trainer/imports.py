"""A base model from where the caller says: hub, folder, object storage, or this repository.

Every way ends in a local folder that is inspected and then published; nothing is taken over unseen.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlparse

from ingrain.units import size
from servicekit.errors import Exhausted, Invalid, NotFound, PermissionDenied, Unavailable, WrongState
from servicekit.storage import open_uri
from services.trainer.files import MODEL_PATTERNS, is_model_file
from services.trainer.settings import TrainerSettings

T = TypeVar("T")


@asynccontextmanager
async def opened(source_uri: str, settings: TrainerSettings) -> AsyncIterator[tuple[Path, str]]:
    """The source as a local folder for the time of the block, and the source with its revision made exact."""
    scheme, _, rest = source_uri.partition("://")
    settings.scratch.mkdir(parents=True, exist_ok=True)
    if scheme == "file":
        yield local_folder(source_uri, settings), source_uri
    elif scheme == "bundled":
        yield bundled_folder(rest, settings), source_uri
    else:
        with tempfile.TemporaryDirectory(prefix="import-", dir=settings.scratch) as name:
            if scheme == "hf":
                yield await asyncio.to_thread(from_hub, rest, Path(name), settings)
            else:
                yield await from_storage(source_uri, Path(name), settings), source_uri


def local_folder(source_uri: str, settings: TrainerSettings) -> Path:
    """A folder under the one that the operator opened; links that lead out of it are followed before the check."""
    if settings.import_root is None:
        raise PermissionDenied(
            "FILE_IMPORT_CLOSED",
            "This platform takes no file:// sources; the operator opens a folder with INGRAIN_IMPORT_ROOT.",
        )
    parsed = urlparse(source_uri)
    root = settings.import_root.resolve()
    folder = Path(unquote(parsed.path)).resolve()
    if parsed.netloc not in ("", "localhost") or not folder.is_relative_to(root):
        raise PermissionDenied(
            "OUTSIDE_IMPORT_ROOT", f"{source_uri} is not under the folder that is open for imports."
        )
    if not folder.is_dir():
        raise NotFound("SOURCE_NOT_FOUND", f"{source_uri} is no folder.", source_uri=source_uri)
    check_links(folder, root)
    return folder


def check_links(folder: Path, root: Path) -> None:
    for path in folder.iterdir():
        if not path.resolve().is_relative_to(root):
            raise PermissionDenied(
                "OUTSIDE_IMPORT_ROOT",
                f"{path.name} is a link to a place outside the folder open for imports.",
            )


def bundled_folder(name: str, settings: TrainerSettings) -> Path:
    folder = settings.bundled_models / name
    if "/" in name or name.startswith(".") or not (folder / "config.json").is_file():
        known = sorted(path.parent.name for path in settings.bundled_models.glob("*/config.json"))
        raise NotFound(
            "SOURCE_NOT_FOUND",
            f"There is no bundled model {name!r}; there is: {', '.join(known) or 'none'}.",
            source_uri=f"bundled://{name}",
        )
    return folder


async def from_storage(source_uri: str, folder: Path, settings: TrainerSettings) -> Path:
    """The objects right under the prefix; folders below it are not part of a model."""
    storage, prefix = open_uri(source_uri, settings)
    prefix = prefix.rstrip("/")
    total = 0
    async for entry in storage.list(f"{prefix}/"):
        name = entry.key.removeprefix(f"{prefix}/")
        if not name or "/" in name:
            continue
        total += entry.size_bytes
        check_size(total, settings)
        await storage.get_file(entry.key, folder / name)
    if not any(folder.iterdir()):
        raise NotFound("SOURCE_NOT_FOUND", f"There is nothing at {source_uri}.", source_uri=source_uri)
    return folder


def check_size(total: int, settings: TrainerSettings) -> None:
    """Exhausted where a model's files have more bytes, so far or together, than may be."""
    limit = settings.model_size_limit_bytes
    if total > limit:
        raise Exhausted(
            "MODEL_TOO_LARGE",
            f"The model has more than the {size(limit)} that this platform takes; its operator sets that by INGRAIN_MODEL_SIZE_LIMIT_BYTES.",
            limit_bytes=limit,
        )


def from_hub(repository: str, folder: Path, settings: TrainerSettings) -> tuple[Path, str]:
    """`org/name[@revision]` by huggingface_hub, which reads HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and HF_HOME.

    Offline it comes from the cache as it lies there; online it goes to a folder of its own, so that the cache may be read-only.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    name, _, revision = repository.partition("@")
    if constants.HF_HUB_OFFLINE:
        cached = hub_call(
            repository,
            lambda: snapshot_download(
                name, revision=revision or None, allow_patterns=list(MODEL_PATTERNS), local_files_only=True
            ),
        )
        return Path(cached), f"hf://{name}@{Path(cached).name}"
    info = hub_call(
        repository, lambda: HfApi().model_info(name, revision=revision or None, files_metadata=True)
    )
    check_size(sum(file.size or 0 for file in info.siblings if is_model_file(file.rfilename)), settings)
    hub_call(
        repository,
        lambda: snapshot_download(
            name, revision=info.sha, allow_patterns=list(MODEL_PATTERNS), local_dir=folder
        ),
    )
    return folder, f"hf://{name}@{info.sha}"


def hub_call(repository: str, call: Callable[[], T]) -> T:
    """The hub's errors in our words."""
    from huggingface_hub import errors

    try:
        return call()
    except errors.GatedRepoError:
        raise PermissionDenied(
            "HUB_GATED", f"hf://{repository} is gated; the trainer needs an HF_TOKEN that may read it."
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise NotFound(
            "SOURCE_NOT_FOUND",
            f"hf://{repository} is not on the hub, or private and HF_TOKEN may not read it.",
            source_uri=f"hf://{repository}",
        ) from None
    except errors.LocalEntryNotFoundError:
        raise WrongState(
            "HUB_OFFLINE",
            f"hf://{repository} is not in the trainer's HF_HOME and the hub cannot be asked "
            "(HF_HUB_OFFLINE, or no connection). Put it there, or import it from a folder.",
        ) from None
    except errors.HFValidationError as error:
        raise Invalid("BAD_SOURCE", f"hf://{repository} is no hub id: {error}.", field="source_uri") from None
    except (errors.HfHubHTTPError, OSError) as error:
        raise Unavailable(
            "HUB_UNREACHABLE", f"The hub did not give hf://{repository}: {type(error).__name__}."
        ) from error
