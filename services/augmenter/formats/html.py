"""HTML -> text: headings, lists and tables as markdown has them; what is not content is left out."""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from services.augmenter.formats.bounds import Refused
from services.augmenter.formats.text import decoded, guessed

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_-]{2,40})""", re.IGNORECASE)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LEFT_OUT = {
    *("head", "script", "style", "noscript", "template", "nav", "svg", "math", "canvas", "iframe", "object"),
    *("button", "select", "input", "textarea", "dialog", "audio", "video", "map"),
}
_LEFT_OUT_ROLES = {"navigation", "search", "banner", "contentinfo", "menu", "menubar", "toolbar"}
_ANCHORS = {"#", "¶", "§", "🔗"}  # what headings link to themselves by
_PAGE_EDGES = {"header", "footer", "aside"}  # of the page, not of an article
_BLOCKS = {
    *(
        "p",
        "div",
        "section",
        "article",
        "main",
        "header",
        "footer",
        "aside",
        "address",
        "blockquote",
        "figure",
    ),
    *(
        "figcaption",
        "dl",
        "dt",
        "dd",
        "ul",
        "ol",
        "form",
        "fieldset",
        "details",
        "summary",
        "hr",
        "body",
        "center",
    ),
    *("caption", "legend"),
}
_MOST_INDENT = 8  # lists in lists


def text_of(data: bytes) -> tuple[str, dict[str, str]]:
    """The page's text and what its metadata should say. Refused: NOT_TEXT, NOT_UTF8."""
    told = _CHARSET.search(data[:4096])
    markup, encoding = decoded(data, told[1].decode() if told else "")
    if "<" not in markup:
        raise Refused("NOT_ITS_ENDING", "has no markup; a plain text ends in .txt")
    return from_markup(markup), guessed(encoding)


def from_markup(markup: str) -> str:
    tree = LexborHTMLParser(markup)
    if tree.body is None:
        return ""
    mains = tree.css("main, [role=main]")
    page = _read(mains[0] if len(mains) == 1 else tree.body)
    text = page.finished()
    title = tree.css_first("head > title")
    named = " ".join(title.text().split()) if title else ""
    if named and text and not any(block.startswith("# ") for block in page.blocks):
        return f"# {named}\n\n{text}"
    return text


def _read(root: LexborNode) -> "_Page":
    """Walks without recursion: pages may nest as deep as they like."""
    page = _Page()
    stack: list[tuple[LexborNode, bool]] = [(root, True)]
    while stack:
        node, entering = stack.pop()
        if not entering:
            page.leave(node.tag)
            continue
        if node.is_text_node:
            page.text(node.text_content or "")
        elif node.is_element_node and not _left_out(node, page):
            page.enter(node.tag, node)
            stack.append((node, False))
            stack.extend((child, True) for child in reversed(list(node.iter(include_text=True))))
    return page


def _left_out(node: LexborNode, page: "_Page") -> bool:
    tag, attributes = node.tag, node.attributes
    if tag in _LEFT_OUT or "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return True
    if (attributes.get("role") or "") in _LEFT_OUT_ROLES:
        return True
    if tag == "a" and (attributes.get("href") or "").startswith("#") and node.text().strip() in _ANCHORS:
        return True
    return tag in _PAGE_EDGES and not page.inside_article


class _Page:
    """Blocks as they are finished, and the one being written."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.inline: list[str] = []
        self.lists: list[int | None] = []  # None: bullets, else the number of the last item
        self.tables: list[_Table | None] = []  # None: one that only lays out
        self.articles = 0
        self.preformatted = 0

    @property
    def inside_article(self) -> bool:
        return self.articles > 0

    def text(self, text: str) -> None:
        self.inline.append(text if self.preformatted else re.sub(r"\s+", " ", text))

    def enter(self, tag: str, node: LexborNode) -> None:
        if tag in ("article", "main"):
            self.articles += 1
        if tag in _HEADINGS or tag in _BLOCKS or tag == "pre":
            self.flush()
        if tag == "br":
            self.inline.append("\n")
        elif tag == "pre":
            self.preformatted += 1
        elif tag in ("ul", "ol"):
            self.lists.append(0 if tag == "ol" else None)
        elif tag == "li":
            self.flush()
            self.inline.append(self._bullet())
        elif tag == "table":
            self.flush()
            lays_out = node.css_first("table table, h1, h2, h3, h4, h5, h6, pre") is not None
            self.tables.append(None if lays_out or self._table() else _Table())
        elif tag in ("tr", "td", "th"):
            self._enter_cell(tag)

    def leave(self, tag: str) -> None:
        if tag in ("article", "main"):
            self.articles -= 1
        if tag in _HEADINGS:
            self.flush("#" * _HEADINGS[tag] + " ")
        elif tag == "pre":
            self.preformatted -= 1
            self._flush_preformatted()
        elif tag in _BLOCKS or tag == "li":
            self.flush()
            if tag in ("ul", "ol") and self.lists:
                self.lists.pop()
        elif tag == "table" and self.tables:
            table = self.tables.pop()
            if table is not None:
                self.inline.clear()
                self.block(table.written())
        elif tag in ("td", "th"):
            table = self._table()
            if table is None:
                self.flush()
            else:
                table.cell(self._taken())

    def flush(self, mark: str = "") -> None:
        """Ends the block; in a table's cell only a space."""
        table = self._table()
        if table is not None and table.in_cell:
            self.inline.append(" ")
            return
        text = self._taken()
        if text.strip():
            self.block(mark + (" ".join(text.split()) if mark else text))

    def block(self, text: str) -> None:
        if text:
            self.blocks.append(text)

    def finished(self) -> str:
        self.flush()
        pieces = []
        for before, block in zip(["", *self.blocks], self.blocks, strict=False):
            pieces += ["\n" if _is_item(before) and _is_item(block) else "\n\n", block]
        return "".join(pieces).strip()

    def _taken(self) -> str:
        text = "".join(self.inline)
        self.inline.clear()
        lead = len(text) - len(text.lstrip(" ")) if _is_item(text) else 0
        lines = [" ".join(line.split()) for line in text.split("\n")]
        return " " * lead + "\n".join(line for line in lines if line)

    def _flush_preformatted(self) -> None:
        table = self._table()
        if table is not None and table.in_cell:
            return
        text = "".join(self.inline).strip("\n")
        self.inline.clear()
        if text.strip():
            self.block(f"```\n{text.rstrip()}\n```")

    def _bullet(self) -> str:
        indent = "  " * min(_MOST_INDENT, max(0, len(self.lists) - 1))
        if not self.lists or self.lists[-1] is None:
            return f"{indent}- "
        self.lists[-1] += 1
        return f"{indent}{self.lists[-1]}. "

    def _table(self) -> "_Table | None":
        return self.tables[-1] if self.tables else None

    def _enter_cell(self, tag: str) -> None:
        table = self._table()
        if table is None:
            self.flush()
        elif tag == "tr":
            table.rows.append([])
        else:
            self.inline.clear()
            table.in_cell = True


class _Table:
    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.in_cell = False

    def cell(self, text: str) -> None:
        self.in_cell = False
        if not self.rows:
            self.rows.append([])
        self.rows[-1].append(" ".join(text.split()).replace("|", "\\|"))

    def written(self) -> str:
        return markdown_table([row for row in self.rows if any(row)])


def markdown_table(rows: list[list[str]]) -> str:
    """The first row is taken for the header; one column needs no table."""
    if not rows:
        return ""
    width = max(map(len, rows))
    if width == 1:
        return "\n".join(row[0] for row in rows)
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _is_item(block: str) -> bool:
    return re.match(r" *(?:-|\d+\.) ", block) is not None
