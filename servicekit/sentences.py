"""Where sentences end. Pure."""

import re

# The end of a sentence: its mark with closing quotes or brackets, then space; or the end of a line. Looked for from the
# beginning of a run of space only: a text of nothing but spaces would take the square of its length.
SENTENCE_END = re.compile(r"([.!?][\"'”’)\]]*)\s+|(?<!\s)\s*\n\s*")
# Words whose dot ends no sentence.
ABBREVIATION = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|Prof|St|No|[A-Z])\.$")
_LONGEST_ABBREVIATION = 6  # characters, with the one before it


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where the text's sentences begin and end, in order, without the space around them."""
    found, start = [], 0
    for match in SENTENCE_END.finditer(text):
        end = match.end(1) if match[1] else match.start()
        if "\n" not in match[0] and ABBREVIATION.search(
            text, max(0, start - 1, end - _LONGEST_ABBREVIATION), end
        ):
            continue
        found.append((start, end))
        start = match.end()
    found.append((start, len(text)))
    stripped = [
        (end - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())) for start, end in found
    ]
    return [(start, end) for start, end in stripped if start < end]


def sentences(text: str) -> list[str]:
    """The text's sentences in order, without the space between them; nothing else is lost."""
    return [text[start:end] for start, end in sentence_spans(text)]
