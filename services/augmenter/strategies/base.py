"""What a strategy is: from documents to asks."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROMPTS = Path(__file__).parents[1] / "prompts"


@dataclass(frozen=True)
class Document:
    """`group` is empty where documents are one set; `subjects` in the order in which they occur."""

    id: str
    text: str
    group: str
    subjects: tuple[str, ...]
    metadata: dict[str, object]


@dataclass(frozen=True)
class Ask:
    """One prompt, and the documents that it is about."""

    prompt: str
    documents: tuple[Document, ...]
    context_group: str | None  # None: no context


@dataclass(frozen=True)
class Strategy:
    """`asks` yields each prompt once; sampling several times is the pipeline's business."""

    name: str
    sees: str
    asks: Callable[[str, Sequence[Document]], Iterator[Ask]]


def template(prompt_set: str, strategy: str) -> str:
    return (PROMPTS / prompt_set / f"{strategy}.txt").read_text().rstrip("\n")


@cache
def prompt_sets() -> tuple[str, ...]:
    return tuple(sorted(folder.name for folder in PROMPTS.iterdir() if folder.is_dir()))


def template_sha256(prompt_set: str, strategy: str) -> str:
    return hashlib.sha256(template(prompt_set, strategy).encode()).hexdigest()


def each_alone(text: str, documents: Sequence[Document]) -> Iterator[Ask]:
    """One document in sight."""
    for document in documents:
        yield Ask(text.replace("{document}", document.text), (document,), None)


def each_among_all(text: str, documents: Sequence[Document]) -> Iterator[Ask]:
    """One document in focus, its group in the context."""
    for document in documents:
        yield Ask(text.replace("{document}", document.text), (document,), document.group)


def each_subject_among_all(text: str, documents: Sequence[Document]) -> Iterator[Ask]:
    """Each subject of a group once, with the documents that name it as its sources."""
    naming: dict[tuple[str, str], list[Document]] = {}
    for document in documents:
        for subject in document.subjects:
            naming.setdefault((document.group, subject), []).append(document)
    for (group, subject), sources in naming.items():
        yield Ask(text.replace("{subject}", subject), tuple(sources), group)
