"""What is written before it is checked, and why some of it is dropped."""

from dataclasses import dataclass, field

from services.evaluator.writing.sources import Document

# Reasons, in the order in which they are looked for.
UNPARSABLE = "unparsable"  # no statement, or no JSON of the form that was asked for
GIVES_AWAY = "gives_away"  # the answer stands in the question
NOT_IN_SOURCE = "not_in_source"  # a name or the answer stands in none of the sources
WRONG_KIND = "wrong_kind"  # a statement in the sources' own order among reversals, and the like
VERBATIM = "verbatim"  # stands in a document word for word, but is not of the kind `verbatim`
DUPLICATE = "duplicate"
NO_DISTRACTORS = "no_distractors"  # no document has another phrase of the same form
TURNED_ROUND = "turned_round"  # with the sources read, the statement with its names exchanged is likelier
NOT_ANSWERABLE = "not_answerable"  # with the sources read, another choice comes first
SEVERAL_RIGHT = "several_right"  # with the sources read, the next choice is close
KNOWN_ALREADY = "known_already"  # without any document the right choice is as clear


@dataclass(frozen=True)
class Draft:
    """A forced choice of `right` and `wrong`, or a list of `answers`.

    `beside`: documents that wrong choices come from, read with the sources when it is checked. `exchanged`: the
    whole statement, and the same with its names in each other's place.
    """

    kind: str
    prompt: str
    sources: tuple[Document, ...]
    right: str = ""
    wrong: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    beside: tuple[Document, ...] = ()
    exchanged: tuple[str, str] | None = None
    statement: str = ""
    checks: dict[str, float] = field(default_factory=dict)

    @property
    def is_list(self) -> bool:
        return bool(self.answers)


class Dropped(Exception):
    """`reason`: one of those above."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
