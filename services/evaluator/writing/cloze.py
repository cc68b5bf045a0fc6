"""A statement -> its last phrase asked for, among phrases of the same form from other places of the documents."""

import random
import re
from collections.abc import Sequence

from services.evaluator.writing.drafts import (
    GIVES_AWAY,
    NO_DISTRACTORS,
    NOT_IN_SOURCE,
    UNPARSABLE,
    VERBATIM,
    WRONG_KIND,
    Draft,
    Dropped,
)
from services.evaluator.writing.sources import (
    END,
    Document,
    Pool,
    content_words,
    last_run,
    normalized,
    sentences,
    words,
)

LEAST_WORDS, MOST_WORDS = 3, 40
WRONG_CHOICES = 3
MOST_TRIED = 400  # phrases that are looked at for them
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")
_TAIL = re.compile(r"[.!]$")


def statements(output: str) -> list[str]:
    """Sentences of what a model wrote, without bullets and headings."""
    lines = [_BULLET.sub("", line).strip() for line in output.splitlines()]
    return [sentence for line in lines for sentence in sentences(line)]


def draft(kind: str, statement: str, asked: Sequence[Document], pool: Pool, rng: random.Random) -> Draft:
    """Raises Dropped. `asked`: the documents in sight when it was written, the one that it is about first."""
    stem, phrase, tail = halves(statement)
    stem_words, phrase_words = content_words(stem), content_words(phrase)
    anchors = [word for word in stem_words if word in pool.names]
    if kind != "verbatim" and len(set(anchors)) < len(anchors):
        raise Dropped(UNPARSABLE)
    given = set(phrase_words) & set(stem_words)
    if given == set(phrase_words) or given & pool.names:
        raise Dropped(GIVES_AWAY)
    sources = _sources(phrase_words, anchors, asked)
    named = {word for word in [*stem_words, *phrase_words] if word in pool.names}
    if not anchors or not sources or not named <= set().union(*(d.vocabulary for d in sources)):
        raise Dropped(NOT_IN_SOURCE)
    if kind != _kind(anchors[0], phrase_words[-1], sources) and not (
        kind == "verbatim" and statement in asked[0].sentences
    ):
        raise Dropped(WRONG_KIND)
    if kind != "verbatim" and normalized(statement) in pool.text:
        raise Dropped(VERBATIM)
    others = _distractors(stem, phrase, anchors, sources, pool, rng)
    if not others:
        raise Dropped(NO_DISTRACTORS)
    return Draft(
        kind=kind,
        prompt=stem,
        sources=tuple(sources),
        right=phrase + tail,
        wrong=tuple(other + tail for other, _ in others),
        beside=tuple(document for _, document in others),
        exchanged=(statement, _exchanged(statement, anchors[0], phrase_words[-1])),
        statement=statement,
    )


def halves(statement: str) -> tuple[str, str, str]:
    """What is asked, the last phrase, and the mark that ends it. Raises Dropped for what is no statement.

    The phrase is the last run of content words.
    """
    found = words(statement)
    if not LEAST_WORDS <= len(found) <= MOST_WORDS or not _TAIL.search(statement):
        raise Dropped(UNPARSABLE)
    if "?" in statement or "Answer" in found:
        raise Dropped(UNPARSABLE)
    text = statement[:-1]
    length = len(last_run(found))
    # A statement needs more than names: what is said of them.
    said = [word for word in found[: len(found) - length] if word.lower() not in ("and", "or")]
    if not length or len(said) < 2:
        raise Dropped(UNPARSABLE)
    match = re.search(r"\s+".join(map(re.escape, found[-length:])) + r"$", text)
    if match is None:
        raise Dropped(UNPARSABLE)
    return text[: match.start()].rstrip(), text[match.start() :], statement[-1]


def _sources(phrase: Sequence[str], anchors: Sequence[str], asked: Sequence[Document]) -> list[Document]:
    """The fewest documents in sight that have the phrase and the names: one, or the one asked about and another."""
    needed = {*phrase, *anchors}
    for document in asked:
        if needed <= document.vocabulary:
            return [document]
    for other in asked[1:]:
        if needed <= asked[0].vocabulary | other.vocabulary:
            return [asked[0], other]
    return []


def _kind(anchor: str, end: str, sources: Sequence[Document]) -> str:
    """What it takes to say it: where the first name and the last stand in the sources."""
    if len(sources) > 1:
        return "cross_document"
    for sentence in sources[0].sentences:
        found = content_words(sentence)
        if anchor in found and end in found:
            return "paraphrase" if found.index(anchor) < found.index(end) else "reversal"
    return "two_step"


def _distractors(
    stem: str,
    phrase: str,
    anchors: Sequence[str],
    sources: Sequence[Document],
    pool: Pool,
    rng: random.Random,
) -> list[tuple[str, Document]]:
    """Phrases of the group that stand between the same words as the right one does, here or in the sources.

    None that stands in the question, and none that a sentence tells together with the question's first or last name:
    it may be right as well.
    """
    right, asked = frozenset(content_words(phrase)), frozenset(content_words(stem))
    places = {(words(stem)[-1].lower(), END)}
    places |= {
        (known.before, known.after)
        for document in sources
        for known in pool.by_document.get(document.id, [])
        if known.text == phrase
    }
    chosen: dict[str, Document] = {}
    for alike in (
        [known for place in sorted(places) for known in pool.by_place.get(place, [])],
        [known for after in sorted({place[1] for place in places}) for known in pool.by_after.get(after, [])],
    ):
        for known in rng.sample(alike, min(MOST_TRIED, len(alike))):
            if len(known.said) != len(right) or known.said == right or known.said <= asked:
                continue
            if any(pool.tell_together(name, known.said) for name in (anchors[0], anchors[-1])):
                continue
            if len(chosen) < WRONG_CHOICES:
                chosen.setdefault(known.text, known.document)
    return list(chosen.items())


def _exchanged(statement: str, first: str, last: str) -> str:
    """With the two words in each other's place."""
    written = {word.lower(): word for word in words(statement)}
    both = re.compile(rf"\b(?:{re.escape(first)}|{re.escape(last)})\b", re.IGNORECASE)
    return both.sub(lambda found: written[last if found[0].lower() == first else first], statement)
