"""Which file is read by what, by the ending of its name."""

FAMILIES = {
    "text": (".txt", ".md", ".markdown", ".rst"),
    "html": (".html", ".htm", ".xhtml"),
    "pdf": (".pdf",),
    "docx": (".docx",),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "zip": (".zip",),
    "tar": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
    "compressed": (".gz", ".bz2", ".xz"),
}
DOCUMENTS = ("text", "html", "pdf", "docx")  # one document a file
TABLES = ("csv", "parquet")
ARCHIVES = ("zip", "tar", "compressed")

_BY_ENDING = {ending: family for family, endings in FAMILIES.items() for ending in endings}
_LONGEST_FIRST = sorted(_BY_ENDING, key=len, reverse=True)
READABLE = tuple(_BY_ENDING)


def ending_of(path: str) -> str:
    """A known ending in lower case, else what comes after the last dot of the name, else nothing."""
    name = path.rpartition("/")[2].lower()
    for ending in _LONGEST_FIRST:
        if name.endswith(ending) and name != ending:
            return ending
    stem, dot, last = name.rpartition(".")
    return dot + last if stem else ""


def family_of(path: str) -> str | None:
    """None: nobody reads it."""
    return _BY_ENDING.get(ending_of(path))
