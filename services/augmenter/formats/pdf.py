"""PDF -> text. A page knows characters and where they stand; lines, paragraphs and headings are read out of that."""

import ctypes
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from services.augmenter.formats.bounds import Bounds, Refused

_HEADING = 1.15  # times the size of most text
_LONGEST_HEADING = 200
_MOST_LEVELS = 4
_CLOSE = 1.2  # sizes between the lines of one heading
_ASIDE = 6  # sizes from the left edge of the line before: another column or table
_SEEN_ON = 3  # pages on which a first or last line repeats before it is taken for the page's own
_ITEM = re.compile(r"(?:[•◦▪‣–—*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s")
_LEADERS = re.compile(r"(?:\s?\.){6,}\s*(?:\d+|[ivxlc]+)?$")  # a line of a table of contents
_SENTENCE_ENDS = re.compile(r"[.!?:]['\"”’)\]]*$")


@dataclass(frozen=True)
class Line:
    """`size`: of its letters; `left`, `right`, `middle`: where it stands, in points from the left and from below."""

    text: str
    size: float
    left: float
    right: float
    middle: float


def text_of(file: Path, bounds: Bounds) -> tuple[str, dict[str, int]]:
    """Refused: NOT_ITS_ENDING, ENCRYPTED, BROKEN_FILE, TOO_MANY_PAGES, and NO_TEXT for pictures of pages."""
    with file.open("rb") as opened:
        if b"%PDF-" not in opened.read(1024):
            raise Refused("NOT_ITS_ENDING", "is no PDF by its content")
    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD:
            raise Refused("ENCRYPTED", "is encrypted and asks for a password") from None
        raise Refused("BROKEN_FILE", "is broken: no pages can be found in it") from None
    if len(document) > bounds.most_pages:
        raise Refused(
            "TOO_MANY_PAGES", f"has {len(document)} pages; at most {bounds.most_pages} are read of one file"
        )
    pages = []
    for number in range(len(document)):
        page = document[number]
        pages.append(lines_of(page))
        page.close()
    text = written(pages)
    if not text:
        raise Refused("NO_TEXT", "has no text in it, only pictures (a scan?); run a text recognition first")
    return text, {"pages": len(pages)}


def lines_of(page: pdfium.PdfPage) -> list[Line]:
    """In the order in which the page holds them."""
    textpage = page.get_textpage()
    found: list[Line] = []
    start, letters = 0, ""
    for index in range(textpage.count_chars() + 1):
        code = raw.FPDFText_GetUnicode(textpage, index) if index < textpage.count_chars() else 10
        if code in (10, 13):
            if letters.strip():
                found.append(_line(textpage, letters, start))
            start, letters = index + 1, ""
        else:
            letters += chr(code)
    textpage.close()
    return found


def _line(textpage: pdfium.PdfTextPage, letters: str, start: int) -> Line:
    first = start + len(letters) - len(letters.lstrip())
    last = start + len(letters.rstrip()) - 1
    sizes = [raw.FPDFText_GetFontSize(textpage, i) for i in {first, (first + last) // 2, last}]
    left, _, below, above = _box(textpage, first)
    _, right, _, _ = _box(textpage, last)
    height = _height(textpage, first)
    text = " ".join(letters.replace("\x00", "").replace("\x02", "\u00ad").split())
    return Line(text, round((height or median(sizes)) * 2) / 2, left, right, (below + above) / 2)


def _height(textpage: pdfium.PdfTextPage, index: int) -> float:
    """Of the letters as they are drawn: a font of size 1 may be scaled by the page."""
    box = raw.FS_RECTF()
    return box.top - box.bottom if raw.FPDFText_GetLooseCharBox(textpage, index, box) else 0.0


def _box(textpage: pdfium.PdfTextPage, index: int) -> tuple[float, float, float, float]:
    values = [ctypes.c_double() for _ in range(4)]
    raw.FPDFText_GetCharBox(textpage, index, *values)
    return tuple(value.value for value in values)  # type: ignore[return-value]


def written(pages: list[list[Line]]) -> str:
    """Paragraphs with a blank line between them, headings marked as in markdown."""
    pages = without_edges(pages)
    sizes = Counter[float]()
    for page in pages:
        for line in page:
            sizes[line.size] += len(line.text)
    if not sizes:
        return ""
    body = sizes.most_common(1)[0][0]
    larger = sorted((size for size in sizes if size >= body * _HEADING), reverse=True)
    levels = {size: min(index + 1, _MOST_LEVELS) for index, size in enumerate(larger)}
    blocks: list[tuple[int, str]] = []  # level of a heading, 0 for text
    for page in pages:
        gap = _line_gap(page)
        before: Line | None = None
        for line in page:
            level = levels.get(line.size, 0) if len(line.text) <= _LONGEST_HEADING else 0
            if blocks and before and level == blocks[-1][0] and _goes_on(before, line, gap, level):
                blocks[-1] = (level, joined(blocks[-1][1], line.text))
            elif blocks and before is None and not level and _over_the_page(blocks[-1], line):
                blocks[-1] = (0, joined(blocks[-1][1], line.text))
            else:
                blocks.append((level, line.text))
            before = line
    return "\n\n".join(
        f"{'#' * level} {text}" if level else text for level, text in blocks if text.strip()
    ).replace("\u00ad", "")


def without_edges(pages: list[list[Line]]) -> list[list[Line]]:
    """Without the lines at the top and the foot that repeat from page to page, but for their numbers, and without the
    table of contents, which the headings tell better."""
    seen = Counter(_shape(line) for page in pages for line in _edges(page))
    repeated = {
        shape
        for shape, count in seen.items()
        if count >= _SEEN_ON and ("#" in shape or count * 2 > len(pages))
    }
    return [
        [
            line
            for line in page
            if not _LEADERS.search(line.text) and not (_shape(line) in repeated and line in _edges(page))
        ]
        for page in pages
    ]


def _edges(page: list[Line]) -> list[Line]:
    by_height = sorted(page, key=lambda line: line.middle)
    return [*by_height[:1], *by_height[-1:]]


def _shape(line: Line) -> str:
    return re.sub(r"\d+", "#", line.text)


def _line_gap(page: list[Line]) -> float:
    gaps = [a.middle - b.middle for a, b in pairwise(page) if 0 < a.middle - b.middle < 4 * max(a.size, 1)]
    return median(gaps) if gaps else 0.0


def _goes_on(before: Line, line: Line, gap: float, level: int) -> bool:
    down = before.middle - line.middle
    if down <= 0 or abs(line.left - before.left) > _ASIDE * line.size:
        return False
    if level:
        return down <= _CLOSE * line.size
    if down > 1.4 * max(gap, line.size) or abs(line.size - before.size) > line.size / 4:
        return False
    if _ITEM.match(line.text):
        return False
    # The last line of a paragraph ends early; the next then begins another, though no space lies between.
    return not (_SENTENCE_ENDS.search(before.text) and before.right < line.right - 4 * line.size)


def _over_the_page(last: tuple[int, str], line: Line) -> bool:
    """A sentence that the page's end cut."""
    level, text = last
    return not level and not _SENTENCE_ENDS.search(text) and line.text[:1].islower()


def joined(text: str, line: str) -> str:
    """A word cut at the end of the line is one word again where the page says so."""
    if text.endswith("\u00ad"):
        return text[:-1] + line
    if re.search(r"[a-z]-$", text) and line[:1].islower():
        return text[:-1] + line
    return f"{text} {line}"
