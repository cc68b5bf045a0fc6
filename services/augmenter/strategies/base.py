"""What a strategy is: from documents to asks, or to texts where no model is asked."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROMPTS = Path(__file__).parents[1] / "prompts"
DEFAULT_SET = "default"
DIVIDER = "\n---\n"  # between the prompts of a strategy that has several
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")
_PLACEHOLDER = re.compile(r"\{(document|documents|subject|other|way)\}")

ONE_DOCUMENT = "one document"
ALL_DOCUMENTS = "all documents of the group, one in focus"
SUBJECT_AMONG_ALL = "all documents of the group, once for each subject"
NAMING_BOTH = "the documents that have both of two names"


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
    """One prompt, and the documents that it is about: the sources of what is written to it.

    `read` are documents that stand in the prompt itself because not all of the group do. What comes back to an ask that
    `opens` is no statement: `Strategy.then` reads it. One that is `structured` is answered `{"statements": [...]}`.
    """

    prompt: str
    documents: tuple[Document, ...]
    context_group: str | None  # None: no context
    read: tuple[Document, ...] = ()
    opens: bool = False
    structured: bool = False

    @property
    def sees_several(self) -> bool:
        """Whether more than the documents that it is about are in sight, so that they can be mixed up."""
        return self.context_group is not None or len(self.read) > 1


@dataclass(frozen=True)
class Derived:
    """A text that was made without a model, and the documents that it was made of."""

    text: str
    documents: tuple[Document, ...]


Asks = Callable[[str, Sequence[Document], int], Iterator[Ask]]
Rows = Callable[[Sequence[Document], int, int], Iterator[Derived]]


def lines(output: str) -> list[str]:
    """Lines without bullets and numbers; an output of blank lines gives one empty statement."""
    found = [_BULLET.sub("", line).strip() for line in output.splitlines()]
    return [line for line in found if line] or [""]


@dataclass(frozen=True)
class Strategy:
    """Either `asks` (prompts, with a text file each; prompt, documents and seed in) or `rows` (documents, seed and number of
    the sample in) is there.

    `asks` yields each prompt once; sampling several times is the pipeline's business. `then` carries an ask that opens on:
    prompt, ask and what was written to it in. `parse` is of an output that is not structured, and gives at least one
    statement, an empty one where there is none.
    """

    name: str
    sees: str
    asks: Asks | None = None
    parse: Callable[[str], list[str]] = lines
    then: Callable[[str, Ask, str], Iterator[Ask]] | None = None
    rows: Rows | None = None
    source: str = "Lampinen et al. 2025"  # where it is from
    cost: str = "a prompt for each document"  # what a sample of it takes
    placeholders: tuple[tuple[str, ...], ...] = (
        ("document",),
    )  # of each of its prompts, the last one's of all after
    divided: bool = False  # whether its text holds several prompts
    most_follow_ups: int = 0  # asks that `then` yields for one, at most


@cache
def prompt_sets() -> tuple[str, ...]:
    return tuple(sorted(folder.name for folder in PROMPTS.iterdir() if folder.is_dir()))


def template(prompt_set: str, strategy: str) -> str:
    """The prompt file's text. A set that words a strategy no other way has it as the default set does."""
    path = PROMPTS / prompt_set / f"{strategy}.txt"
    if not path.exists():
        path = PROMPTS / DEFAULT_SET / path.name
    return path.read_text().rstrip("\n")


def template_sha256(prompt_set: str, strategy: str) -> str:
    return hashlib.sha256(template(prompt_set, strategy).encode()).hexdigest()


def filled(text: str, **values: str) -> str:
    """The prompt with its placeholders replaced, each once: what is put in is not looked at again."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def each_alone(text: str, documents: Sequence[Document], seed: int) -> Iterator[Ask]:
    """One document in sight."""
    for document in documents:
        yield Ask(filled(text, document=document.text), (document,), None)


def each_among_all(text: str, documents: Sequence[Document], seed: int) -> Iterator[Ask]:
    """One document in focus, its group in the context."""
    for document in documents:
        yield Ask(filled(text, document=document.text), (document,), document.group)


def each_subject_among_all(text: str, documents: Sequence[Document], seed: int) -> Iterator[Ask]:
    """Each subject of a group once, with the documents that name it as its sources."""
    naming: dict[tuple[str, str], list[Document]] = {}
    for document in documents:
        for subject in document.subjects:
            naming.setdefault((document.group, subject), []).append(document)
    for (group, subject), sources in naming.items():
        yield Ask(filled(text, subject=subject), tuple(sources), group)
