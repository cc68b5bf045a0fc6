"""Long documents -> rows: cut at headings, then between paragraphs, then between sentences. Pure.

A part of the document under one heading that fits is one row. What does not fit gives its own text first and then its
subsections, each by the same rule; a row never reaches over a heading that it does not begin with. Only a sentence that
is itself too long is cut within: at the sentence ends of Unicode, then at words, then at whole characters.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from semantic_text_splitter import TextSplitter

from ingrain.v1 import datasets_pb2
from servicekit.errors import Invalid
from servicekit.sentences import sentence_spans

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*\r?$")
_UNDERLINE = re.compile(r"^([=\-~^\"])\1{2,}[ \t]*\r?$")
_UNDERLINE_LEVELS = {"=": 1, "-": 2, "~": 3, "^": 4, '"': 5}
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_PARAGRAPH_END = re.compile(r"\n[ \t\r]*\n\s*")
# A line of running text that was broken for its width: long, and no list, table, quote or heading follows.
_WRAPPED = re.compile(r"(?<=[^\n]{40})\r?\n(?=[ \t]*(?!\d+[.)]\s)[\w(\"'“‘`])")
_ITEM_MARK = re.compile(r"\(?(?:\d{1,3}|[A-Za-z])[.)]|[-*•]")
_SPACE = re.compile(r"\s+")
_LONGEST_TITLE = 200
_SPLITTER_BLOCK = 8192  # characters


@dataclass(frozen=True)
class Splitting:
    """Characters of a row, and of the one before that it repeats."""

    max_characters: int
    overlap_characters: int


@dataclass(frozen=True)
class Part:
    """`text[start:end]` under the headings of `heading`, outermost first."""

    start: int
    end: int
    heading: tuple[str, ...]


@dataclass(frozen=True)
class _Section:
    """From a heading to where its last subsection ends; `own_end`: to its first subsection."""

    start: int
    own_end: int
    end: int
    level: int
    heading: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    """A sentence, or a piece of one (`whole` False); `ends_paragraph` where a row ends well."""

    start: int
    end: int
    whole: bool
    ends_paragraph: bool


def resolve(given: datasets_pb2.Splitting, field: str = "splitting") -> Splitting | None:
    """None: documents stay whole."""
    if not given.max_characters:
        if given.overlap_characters:
            raise Invalid(
                "OVERLAP_WITHOUT_SPLITTING",
                "overlap_characters says nothing without max_characters",
                field=f"{field}.overlap_characters",
            )
        return None
    if given.overlap_characters * 2 >= given.max_characters:
        raise Invalid(
            "OVERLAP_TOO_LONG",
            f"overlap_characters is {given.overlap_characters}; it must be less than half of max_characters, "
            f"which is {given.max_characters}",
            field=f"{field}.overlap_characters",
        )
    return Splitting(given.max_characters, given.overlap_characters)


def split(text: str, splitting: Splitting) -> list[Part]:
    """In order; together they hold every character that is no space, and none is longer than allowed. One part where
    the text fits."""
    found = [part for section in _top(_sections(text)) for part in _parts_of(text, section, splitting)]
    return [part for part in (_stripped(text, part) for part in found) if part.start < part.end]


def rows_of(row: dict[str, Any], splitting: Splitting) -> list[dict[str, Any]]:
    """The document as it is where it fits, else a row for each part: id `{id}#{n}`, and in its metadata where in the
    document it stands."""
    text = row["text"]
    if len(text) <= splitting.max_characters:
        return [row]
    metadata = row.get("metadata") or {}
    return [
        row
        | {
            "id": f"{row['id']}#{number}",
            "text": text[part.start : part.end],
            "metadata": {
                **metadata,
                "source": row["id"],
                **({"heading": " > ".join(part.heading)} if part.heading else {}),
                "start": part.start,
                "end": part.end,
            },
        }
        for number, part in enumerate(split(text, splitting), start=1)
    ]


def _sections(text: str) -> list[_Section]:
    """In order; the first is what stands before any heading."""
    marks = [(0, 0, ""), *_headings(text)]
    starts = [start for start, _, _ in marks] + [len(text)]
    ends = starts[1:]
    after: list[int] = []  # sections further on, each less deep than the one that follows it here
    for index in range(len(marks) - 1, 0, -1):
        while after and marks[after[-1]][1] > marks[index][1]:
            after.pop()
        ends[index] = starts[after[-1]] if after else len(text)
        after.append(index)
    path: list[tuple[int, str]] = []
    found = []
    for index, (start, level, title) in enumerate(marks):
        path = [above for above in path if above[0] < level]
        if level:
            path.append((level, title))
        heading = tuple(name for _, name in path)
        found.append(_Section(start, starts[index + 1], ends[index], level, heading))
    return found


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, level and title of each; `# Title` and underlined ones, none inside of fenced code."""
    position, fenced = 0, False
    before, before_start, blank_before = "", 0, True
    for line in text.split("\n"):
        underlined, hashed = _UNDERLINE.match(line), _HEADING.match(line)
        if not fenced and underlined and blank_before and _is_title(before, line):
            yield before_start, _UNDERLINE_LEVELS[underlined[1]], before.strip()
        elif _FENCE.match(line):
            fenced = not fenced
        elif not fenced and hashed and hashed[2]:
            yield position, len(hashed[1]), hashed[2]
        # A title stands alone, or under the line that some draw above it too.
        blank_before = not before.strip() or _UNDERLINE.match(before) is not None
        before, before_start = line, position
        position += len(line) + 1


def _is_title(line: str, underline: str) -> bool:
    fits = 0 < len(line.strip()) <= min(_LONGEST_TITLE, len(underline) + 3)
    return fits and not _UNDERLINE.match(line) and not _HEADING.match(line)


def _top(sections: list[_Section]) -> list[list[_Section]]:
    """Trees of sections: each with all that stands under it."""
    trees: list[list[_Section]] = []
    for section in sections:
        if trees and section.start < trees[-1][0].end and trees[-1][0].level:
            trees[-1].append(section)
        else:
            trees.append([section])
    return trees


def _parts_of(text: str, tree: list[_Section], splitting: Splitting) -> Iterator[Part]:
    root, *under = tree
    whole = Part(root.start, root.end, root.heading)
    if _length(text, whole) <= splitting.max_characters:
        yield whole
        return
    own = Part(root.start, root.own_end, root.heading)
    trees = _top(under)
    if trees and _is_title_alone(text, own):
        # A heading alone is no row: it goes before what stands under it.
        first = trees[0]
        longer = [replace(first[0], start=root.start), *first[1:]]
        trees = [longer, *trees[1:]]
    else:
        yield from _pieces(text, own, splitting)
    for below in trees:
        yield from _parts_of(text, below, splitting)


def _is_title_alone(text: str, own: Part) -> bool:
    lines = [line for line in text[own.start : own.end].split("\n") if line.strip()]
    return len([line for line in lines if not _HEADING.match(line) and not _UNDERLINE.match(line)]) <= (
        0 if lines and _HEADING.match(lines[0]) else 1
    )


def _pieces(text: str, part: Part, splitting: Splitting) -> Iterator[Part]:
    """Rows of whole sentences, as long as they may be, that end with a paragraph where one ends in their second half."""
    if _length(text, part) <= splitting.max_characters:
        yield part
        return
    units = list(_units(text, part, splitting.max_characters))
    first = 0  # unit with which the row's new text begins
    start = units[0].start if units else part.end
    while first < len(units):
        last = first
        while last + 1 < len(units) and units[last + 1].end - start <= splitting.max_characters:
            last += 1
        if last + 1 < len(units):
            half = start + splitting.max_characters // 2
            ends = [i for i in range(first, last + 1) if units[i].ends_paragraph and units[i].end >= half]
            last = ends[-1] if ends else last
        yield Part(start, units[last].end, part.heading)
        first = last + 1
        if first < len(units):
            start = _overlapping(units, first, splitting)


def _overlapping(units: list[_Unit], first: int, splitting: Splitting) -> int:
    """Where the row begins whose first new unit is `first`: earlier by whole sentences, if both fit."""
    start = units[first].start
    for index in range(first - 1, -1, -1):
        unit = units[index]
        too_far = units[first - 1].end - unit.start > splitting.overlap_characters
        if not unit.whole or too_far or units[first].end - unit.start > splitting.max_characters:
            break
        start = unit.start
    return start


def _units(text: str, part: Part, most: int) -> Iterator[_Unit]:
    position = part.start
    body = text[part.start : part.end]
    for end in [*(match.end() for match in _PARAGRAPH_END.finditer(body)), len(body)]:
        paragraph = text[position : part.start + end]
        # Of the same length, so that places in it are places in the text.
        running = paragraph if _FENCE.match(paragraph) else _WRAPPED.sub(_spaces, paragraph)
        spans = list(_items(running, sentence_spans(running)))
        for number, (left, right) in enumerate(spans, start=1):
            yield from _cut(text, position + left, position + right, most, number == len(spans))
        position = part.start + end


def _items(text: str, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The mark of a list's item ("2.") goes with what it counts."""
    mark: int | None = None
    for index, (start, end) in enumerate(spans):
        if index + 1 < len(spans) and _ITEM_MARK.fullmatch(text, start, end):
            mark = start if mark is None else mark
            continue
        yield (start if mark is None else mark), end
        mark = None


def _spaces(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _cut(text: str, start: int, end: int, most: int, ends_paragraph: bool) -> Iterator[_Unit]:
    if end - start <= most:
        yield _Unit(start, end, True, ends_paragraph)
        return
    pieces = list(_within(text, start, end, most))
    for left, right in pieces:
        yield _Unit(left, right, False, ends_paragraph and right == pieces[-1][1])


def _within(text: str, start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Pieces of a sentence that is too long. The splitter takes the square of what it is given, so it is given little."""
    block = max(most, _SPLITTER_BLOCK)
    while start < end:
        stop = min(end, start + block)
        if stop < end:
            spaces = [match.end() for match in _SPACE.finditer(text, start + block // 2, stop)]
            stop = spaces[-1] if spaces else stop
        for offset, piece in TextSplitter(most).chunk_indices(text[start:stop]):
            yield start + offset, start + offset + len(piece)
        start = stop


def _length(text: str, part: Part) -> int:
    stripped = _stripped(text, part)
    return stripped.end - stripped.start


def _stripped(text: str, part: Part) -> Part:
    inside = text[part.start : part.end]
    return replace(
        part,
        start=part.start + len(inside) - len(inside.lstrip()),
        end=part.start + len(inside.rstrip()),
    )
