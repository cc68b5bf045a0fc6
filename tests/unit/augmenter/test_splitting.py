"""Rows of a long document: they cover it, fit, say where they stand, and begin and end where a reader would."""

import time
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingrain.v1 import datasets_pb2
from servicekit.errors import Invalid
from servicekit.sentences import sentences
from services.augmenter.splitting import Splitting, resolve, rows_of, split

PIECES = st.sampled_from(
    [
        *(
            "# Birds\n",
            "## Of the *north*\n\n",
            "Title\n=====\n",
            "Sub\n---\n",
            "### ###\n",
            "```\n",
            "~~~\n",
        ),
        *("\n", "\n\n", " \r\n\r\n", "    ", "The gribble sleeps.", " It eats moss! ", "Dr. Who said so. "),
        *("e.g. this", "- item\n", "| a | b |\n", "字" * 30, "x" * 50, "🏳️‍🌈", "word " * 20, "\u2028", "."),
    ]
)
DOCUMENTS = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=400)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENTS, st.integers(10, 300), st.integers(0, 149))
def test_rows_cover_the_document_and_fit(text: str, most: int, overlap: int) -> None:
    splitting = Splitting(most, min(overlap, (most - 1) // 2))
    parts = split(text, splitting)
    covered, position = 0, 0
    for before, part in zip([None, *parts], parts, strict=False):
        row = text[part.start : part.end]
        assert row == row.strip() != ""
        assert len(row) <= most
        if before is not None:
            assert before.start < part.start
            assert before.end < part.end
            assert before.end - part.start <= splitting.overlap_characters
        assert not text[position : part.start].strip(), "something lies between two rows"
        covered += part.end - max(position, part.start)
        position = part.end
    assert not text[position:].strip()
    assert covered <= len(text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENTS.filter(str.strip), st.integers(10, 300))
def test_a_row_is_the_text_that_it_says_it_is(text: str, most: int) -> None:
    document = {"id": "a", "text": text, "metadata": {"path": "a.md", "n": 1}}
    rows = rows_of(document, Splitting(most, most // 3))
    if len(text) <= most:
        assert rows == [document]
        return
    assert [row["id"] for row in rows] == [f"a#{n}" for n in range(1, len(rows) + 1)]
    for row in rows:
        told = row["metadata"]
        assert text[told["start"] : told["end"]] == row["text"]
        assert (told["source"], told["path"], told["n"]) == ("a", "a.md", 1)


HANDBOOK = """# Gribbles

Gribbles live in the north. They eat moss.

## Food

Moss is eaten raw. It grows on stones. Dr. Smith saw it in 1873. It is green all year round.

```
# no heading: code
```

## Sleep

They sleep in winter.

### Dreams

Nobody knows.

Enemies
-------

Owls.
"""


def test_it_is_cut_at_headings_and_each_row_knows_its_own() -> None:
    parts = split(HANDBOOK, Splitting(115, 0))
    assert [(part.heading, HANDBOOK[part.start : part.end].split("\n")[0]) for part in parts] == [
        (("Gribbles",), "# Gribbles"),
        (("Gribbles", "Food"), "## Food"),
        (("Gribbles", "Food"), "```"),
        (("Gribbles", "Sleep"), "## Sleep"),  # with what stands under it: that fits together
        (("Gribbles", "Enemies"), "Enemies"),
    ]


def test_a_heading_alone_is_no_row() -> None:
    text = "# Top\n\n## First\n\n" + "One sentence. " * 6 + "\n\n## Second\n\n" + "Another. " * 6
    first, second = split(text, Splitting(120, 0))
    assert text[first.start : first.end].startswith("# Top\n\n## First\n\nOne")
    assert first.heading == ("Top", "First")
    assert second.heading == ("Top", "Second")


def test_overlap_is_whole_sentences_of_the_row_before() -> None:
    said = [f"Sentence number {n} of Dr. Smith is here." for n in range(12)]
    text = " ".join(said)
    parts = split(text, Splitting(165, 60))
    rows = [text[part.start : part.end] for part in parts]
    assert len(rows) > 3
    for before, row in pairwise(rows):
        assert sentences(row)[0] == sentences(before)[-1]
        assert all(sentence in said for sentence in sentences(row))
    apart = [sentences(text[part.start : part.end]) for part in split(text, Splitting(165, 0))]
    assert apart == [said[0:4], said[4:8], said[8:12]]


@pytest.mark.parametrize("indent", ["", "   "])
def test_lines_broken_for_their_width_are_no_sentences(indent: str) -> None:
    text = (
        f"This is a sentence of a file whose lines were all broken\n{indent}because they were to be no longer than that. "
        f"A second sentence follows\n{indent}and ends here in the middle of a line. And this is the third one of them."
    )
    rows = [text[p.start : p.end] for p in split(text, Splitting(125, 0))]
    assert [row.endswith(".") for row in rows] == [True, True]


def test_lines_of_a_list_are_sentences() -> None:
    items = ["1. The first of the items is a rather long line", "2. The second of the items is about as long"]
    text = "\n".join(items)
    assert [text[p.start : p.end] for p in split(text, Splitting(60, 0))] == items


def test_a_sentence_that_is_too_long_is_cut_between_words() -> None:
    text = "word " * 100
    for part in split(text, Splitting(42, 10)):
        assert set(text[part.start : part.end].split()) == {"word"}


@pytest.mark.parametrize("text", [" " * 400_000, "A. " * 100_000, "字" * 100_000, "# a\n## b\n" * 20_000])
def test_no_text_takes_the_square_of_its_length(text: str) -> None:
    started = time.process_time()
    split(text, Splitting(1000, 200))
    assert time.process_time() - started < 10


def test_what_cannot_be_split_so_is_refused() -> None:
    assert resolve(datasets_pb2.Splitting()) is None
    assert resolve(datasets_pb2.Splitting(max_characters=9, overlap_characters=4)) == Splitting(9, 4)
    for given_, field in (
        ({"max_characters": 10, "overlap_characters": 5}, "splitting.overlap_characters"),
        ({"overlap_characters": 5}, "splitting.overlap_characters"),
    ):
        with pytest.raises(Invalid) as caught:
            resolve(datasets_pb2.Splitting(**given_))
        assert caught.value.field == field
