"""Documents of each kind give their text with its headings, and nothing that is not their text."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.augmenter.formats import docx, endings, html, pdf, text
from services.augmenter.formats.bounds import Bounds, Refused
from services.augmenter.formats.pdf import Line, joined, without_edges
from tests.unit.augmenter import samples

BOUNDS = Bounds(1000, 1 << 28, 1 << 26, 1 << 24, 200, 1, 500, 20.0, 1 << 30)


def test_files_are_known_by_their_endings() -> None:
    for path, family, ending in (
        ("A/B.TXT", "text", ".txt"),
        ("x.tar.gz", "tar", ".tar.gz"),
        ("x.jsonl.gz", "compressed", ".gz"),
        ("x.PARQUET", "parquet", ".parquet"),
        ("x.png", None, ".png"),
        ("LICENSE", None, ""),
        (".txt", None, ""),
        ("a.b/.pdf", None, ""),
    ):
        assert (endings.family_of(path), endings.ending_of(path)) == (family, ending), path


def test_html_keeps_headings_lists_tables_and_code() -> None:
    assert html.text_of(samples.PAGE.encode())[0] == "\n\n".join(
        [
            "# Gribbles",
            "## Habits",
            "It lives near the river and eats moss.",
            "- one\n- two\n  1. inner",
            "| Name | Age |\n| --- | --- |\n| Ann\\|e | 3 |",
            "```\n# no heading\n  code\n```",
        ]
    )


def test_of_a_page_that_says_what_its_content_is_only_that_is_taken() -> None:
    page = "<body><p>before</p><main><header><h1>T</h1></header><p>in</p></main><aside>beside</aside></body>"
    assert html.from_markup(page) == "# T\n\nin"
    assert html.from_markup("<p>a<br>b</p>tail") == "a\nb\n\ntail"
    assert html.from_markup("<table><tr><td><h2>T</h2><table><tr><td>x</table></table>") == "## T\n\nx"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.sampled_from(
            [
                *("<p>", "</p>", "<table>", "</table>", "<tr>", "<td>", "</td>", "<ul>", "<ol>", "<li>"),
                *(
                    "</ul>",
                    "<pre>",
                    "</pre>",
                    "<h1>",
                    "</h1>",
                    "<br>",
                    "<main>",
                    "<b>",
                    "</b>",
                    "text ",
                    " \n",
                ),
                *("&lt;", "<!--", "-->", "<", "\0", "<svg>", "</svg>", "<template>", "<x-y>", "é"),
            ]
        ),
        max_size=30,
    ).map("".join)
)
def test_any_markup_gives_text(markup: str) -> None:
    made = html.from_markup(markup)
    assert made == made.strip()
    if "<" not in markup and "\0" not in markup and "&" not in markup:
        assert made.split() == markup.split()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1251"])
def test_encodings_are_told_by_marks_or_guessed_from_enough_text(encoding: str) -> None:
    said = "Это русский текст, который записан в старой кодировке и должен быть прочитан верно. " * 4
    found, told = text.decoded(said.encode(encoding))
    assert found == said
    assert text.guessed(told) == ({} if encoding.startswith("utf-8") else {"encoding": encoding})


def test_html_says_its_encoding() -> None:
    page = '<html><head><meta charset="iso-8859-2"></head><body><p>Żółw</p></body></html>'
    assert html.text_of(page.encode("iso-8859-2")) == ("Żółw", {"encoding": "iso-8859-2"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "NOT_TEXT"),
        (b"\xff\xfea\xd8", "NOT_TEXT"),
        (b"\xe9t\xe9", "NOT_UTF8"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        text.decoded(data)
    assert caught.value.reason == reason


def test_pdf_gives_paragraphs_and_headings(tmp_path: Path) -> None:
    made, told = pdf.text_of(samples.pdf(tmp_path / "a.pdf"), BOUNDS)
    assert made == "\n\n".join(
        ["# Gribbles of the North", samples.HABITS, "## Food", samples.FOOD, "The end of it."]
    )
    assert told == {"pages": 3}


def test_words_cut_at_the_end_of_a_line_are_whole_again() -> None:
    assert joined("an exam-", "ple") == "an example"
    assert joined("an exam\u00ad", "ple") == "an example"
    assert joined("the UTF-", "Standard") == "the UTF- Standard"


def test_lines_that_repeat_at_the_edges_of_pages_are_left_out() -> None:
    def page(number: int) -> list[Line]:
        texts = ["Handbook", f"Text {'abcd'[number]}", f"Page {number}"]
        return [Line(said, 10, 0, 100, 700 - 100 * i) for i, said in enumerate(texts)]

    assert [[line.text for line in kept] for kept in without_edges([page(n) for n in range(4)])] == [
        ["Text a"],
        ["Text b"],
        ["Text c"],
        ["Text d"],
    ]
    assert without_edges([page(0), page(1)]) == [page(0), page(1)]  # two pages show no rule
    contents = Line("3.1. Habits . . . . . . . . . . . 12", 10, 0, 100, 650)
    assert without_edges([[*page(0), contents]]) == [page(0)]


def test_pdfs_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\n" + b"garbage " * 100)
    page = tmp_path / "page.pdf"
    page.write_bytes(b"<html>")
    for path, reason in (
        (samples.scan(tmp_path / "scan.pdf"), "NO_TEXT"),
        (samples.pdf(tmp_path / "locked.pdf", "secret"), "ENCRYPTED"),
        (broken, "BROKEN_FILE"),
        (page, "NOT_ITS_ENDING"),
    ):
        with pytest.raises(Refused) as caught:
            pdf.text_of(path, BOUNDS)
        assert caught.value.reason == reason, path
    few = Bounds(1000, 1 << 28, 1 << 26, 1 << 24, 200, 1, 2, 20.0, 1 << 30)
    with pytest.raises(Refused, match="has 3 pages"):
        pdf.text_of(samples.pdf(tmp_path / "long.pdf"), few)


def test_docx_gives_headings_by_their_styles(tmp_path: Path) -> None:
    assert docx.text_of(samples.word(tmp_path / "a.docx"), BOUNDS)[0] == "\n\n".join(
        [
            "# Gribbles",
            samples.HABITS,
            "# Food",
            "- Moss",
            "## At night",
            "| Name | Age |\n| --- | --- |\n| Ann\\|e | 3 |",
        ]
    )


def test_docx_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
    whole = samples.word(tmp_path / "a.docx").read_bytes()
    cases = {
        "old": (old, "NOT_ITS_ENDING"),
        "locked": (old + "EncryptedPackage".encode("utf-16-le"), "ENCRYPTED"),
        "cut": (whole[: len(whole) // 2], "BROKEN_FILE"),
        "zip": (samples.zipped({"a.txt": b"x"}), "NOT_ITS_ENDING"),
        "text": (b"hello", "NOT_ITS_ENDING"),
        "bomb": (
            samples.zipped({"[Content_Types].xml": b"", "word/document.xml": b" " * (40 << 20)}),
            "ARCHIVE_BOMB",
        ),
    }
    for name, (content, reason) in cases.items():
        path = tmp_path / f"{name}.docx"
        path.write_bytes(content)
        with pytest.raises(Refused) as caught:
            docx.text_of(path, BOUNDS)
        assert caught.value.reason == reason, name
