"""Files as people have them, made by the libraries that such files are made with."""

import io
from pathlib import Path
from typing import Any

import docx
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen import canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

HABITS = "The gribble lives near the river and feeds on moss. It was described by Dr. Smith in 1873, and its extraordinarily long whiskers are well known."
FOOD = "It eats at night. Nobody has seen it drink."


def pdf(path: Path, password: str = "") -> Path:
    """Three pages with a running foot, two headings, and a paragraph that goes over several lines."""
    styles = getSampleStyleSheet()

    def foot(page: Any, document: Any) -> None:
        page.setFont("Helvetica", 8)
        page.drawString(50, 20, f"Acme handbook, page {document.page}")

    story = [
        Paragraph("Gribbles of the North", styles["Title"]),
        Paragraph(HABITS, styles["BodyText"]),
        PageBreak(),
        Paragraph("Food", styles["Heading2"]),
        Paragraph(FOOD, styles["BodyText"]),
        PageBreak(),
        Paragraph("The end of it.", styles["BodyText"]),
    ]
    encrypt = StandardEncryption(password) if password else None
    SimpleDocTemplate(str(path), pagesize=A4, encrypt=encrypt).build(
        story, onFirstPage=foot, onLaterPages=foot
    )
    return path


def scan(path: Path) -> Path:
    """A page with lines on it and no text."""
    page = canvas.Canvas(str(path))
    page.line(10, 10, 200, 200)
    page.rect(50, 50, 100, 100, fill=1)
    page.save()
    return path


def word(path: Path) -> Path:
    document = docx.Document()
    document.add_heading("Gribbles", 0)
    document.add_paragraph(HABITS)
    document.add_heading("Food", 1)
    document.add_paragraph("Moss", style="List Bullet")
    document.add_heading("At night", 2)
    table = document.add_table(2, 2)
    for row, values in enumerate((("Name", "Age"), ("Ann|e", "3"))):
        for column, value in enumerate(values):
            table.cell(row, column).text = value
    document.save(str(path))
    return path


PAGE = """<!doctype html><html><head><title>Gribbles</title><style>p { color: red }</style>
<script>var evil = "<p>no text</p>"</script></head><body>
<header>Acme Inc.</header><nav><ul><li>Home</li></ul></nav>
<div><h2>Habits <a class="headerlink" href="#h">¶</a></h2><p>It lives near the <b>river</b>
and eats&nbsp;moss.</p>
<ul><li>one</li><li>two<ol><li>inner</li></ol></li></ul>
<table><tr><th>Name</th><th>Age</th></tr><tr><td>Ann|e</td><td><p>3</p></td></tr></table>
<pre># no heading
  code</pre></div>
<div hidden>hidden</div><footer>Imprint</footer></body></html>"""


def deep_page(levels: int) -> bytes:
    """Elements in elements: a page that keeps a parser at work for long."""
    return b"<html><body>" + b"<div>" * levels + b"text"


def parquet_bomb(path: Path) -> Path:
    """Some kilobytes that are a gigabyte of text once they are read: one long word, repeated by number."""
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 2000, pyarrow.int32()), pyarrow.array(["x" * (1 << 20)])
    )
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), path, compression="zstd")
    return path


def zipped(members: dict[str, bytes]) -> bytes:
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()
