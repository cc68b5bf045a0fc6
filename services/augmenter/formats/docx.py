"""Word files -> text, by way of the HTML that mammoth makes of their styles: a heading is a heading by its style."""

import zipfile
from pathlib import Path
from typing import Any

import mammoth

from services.augmenter.formats.bounds import FREE_BYTES, Bounds, Refused
from services.augmenter.formats.html import from_markup

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
p[style-name='Quote'] => p:fresh
"""
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def text_of(file: Path, bounds: Bounds) -> tuple[str, dict[str, str]]:
    """Refused: ENCRYPTED, NOT_ITS_ENDING, ARCHIVE_BOMB, BROKEN_FILE."""
    _checked(file, bounds)
    with file.open("rb") as opened:
        made = mammoth.convert_to_html(opened, style_map=_STYLES, convert_image=_no_image)
    return from_markup(made.value), {}


def _checked(file: Path, bounds: Bounds) -> None:
    with file.open("rb") as opened:
        begins = opened.read(8)
        if begins == _OLD_OFFICE:
            if _ENCRYPTED in opened.read(1 << 20):
                raise Refused("ENCRYPTED", "is encrypted")
            raise Refused("NOT_ITS_ENDING", "is an old Word file (.doc) by its content; save it as .docx")
    if not begins.startswith(b"PK"):
        raise Refused("NOT_ITS_ENDING", "is no Word file by its content")
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise Refused("BROKEN_FILE", f"is broken: {error}") from None
    unpacked = sum(part.file_size for part in parts)
    if unpacked > bounds.most_file_bytes or (
        unpacked > FREE_BYTES and unpacked > bounds.most_ratio * file.stat().st_size
    ):
        raise Refused("ARCHIVE_BOMB", f"unpacks to {unpacked} bytes")
    if "[Content_Types].xml" not in {part.filename for part in parts}:
        raise Refused("NOT_ITS_ENDING", "is no Word file by its content")


def _no_image(image: Any) -> list[Any]:
    return []
