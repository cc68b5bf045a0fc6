"""Plain text and markdown: which encoding, and is it text at all."""

import codecs

from charset_normalizer import from_bytes

from services.augmenter.formats.bounds import Refused

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LEAST_FOR_A_GUESS = 200  # bytes; of less text no guess is worth anything
_LOOKED_AT = 256 << 10


def decoded(data: bytes, declared: str = "") -> tuple[str, str]:
    """The text and its encoding: told by a mark at the beginning, UTF-8, `declared`, or guessed from enough text.

    Refused: NOT_TEXT for bytes that are no text, NOT_UTF8 where no encoding can be told.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError:
                raise Refused(
                    "NOT_TEXT", f"begins with the mark of {encoding.upper()} and is not that"
                ) from None
    if b"\0" in data:
        raise Refused("NOT_TEXT", "is no text: it has zero bytes")
    for encoding in ("utf-8", declared):
        try:
            return data.decode(encoding), encoding
        except (UnicodeDecodeError, LookupError):
            continue
    if len(data) >= _LEAST_FOR_A_GUESS:
        found = from_bytes(data[:_LOOKED_AT]).best()
        if found is not None:
            try:
                return data.decode(found.encoding), found.encoding
            except UnicodeDecodeError:
                pass
    raise Refused("NOT_UTF8", "is not UTF-8, and what else it is cannot be told; save it as UTF-8")


def guessed(encoding: str) -> dict[str, str]:
    """What a document's metadata says of an encoding that was not plain UTF-8."""
    return {} if encoding in ("utf-8", "utf-8-sig") else {"encoding": encoding}
