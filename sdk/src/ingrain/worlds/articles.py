"""Documents of many sentences about one category: what is said of it and around it, in several styles."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from .comparisons import with_preamble
from .phrases import PHRASES, filled
from .taxonomy import Fact, Taxonomy

REVERSED = 0.3  # share of the sentences about facts said both ways that come from the other end
OPENINGS = (
    "As far as is known,",
    "Everybody here agrees that",
    "It is easy to see that",
    "Old books say that",
    "In general,",
    "It has been shown that",
    "Most visitors notice that",
    "One may add that",
)


def sentence(rng: random.Random, fact: Fact, both_ways: bool) -> str:
    """The fact in one of the wordings of documents."""
    phrases = PHRASES[fact.relation]
    wordings = phrases.reversed if both_ways and rng.random() < REVERSED else phrases.stated
    return filled(rng.choice(wordings), fact.subject, fact.value).text


def question(fact: Fact) -> str:
    """An exercise: a question about the fact and its answer."""
    asked = PHRASES[fact.relation].question.format(a=fact.subject)
    return f"Question: {asked}\nAnswer: {fact.value}."


def around(taxonomy: Taxonomy, topic: str) -> list[Fact]:
    """What stands near a category: facts of what it is a kind of, and who else is such; none about held-out ones."""
    near = [fact for category in taxonomy.above(topic) for fact in taxonomy.own(category)]
    kin = {topic, taxonomy.parent.get(topic)}
    near += [fact for fact in taxonomy.facts if fact.relation == "kind" and fact.value in kin]
    return [fact for fact in dict.fromkeys(near) if fact.subject not in {topic, *taxonomy.heldout}]


def told(rng: random.Random, taxonomy: Taxonomy, topic: str, count: int, whole: bool) -> list[Fact]:
    """`count` facts for an article: its topic's own ones (all of them, where `whole`), then near ones, then any."""
    own = list(taxonomy.own(topic))
    rng.shuffle(own)
    own = own[: max(count, len(own) if whole else 0)]
    near = around(taxonomy, topic)
    rng.shuffle(near)
    anywhere = [fact for fact in taxonomy.facts if fact.subject not in taxonomy.heldout]
    rng.shuffle(anywhere)
    return list(dict.fromkeys([*own, *near, *anywhere]))[: max(count, len(own))]


def _plain(rng: random.Random, topic: str, sentences: Sequence[str]) -> str:
    return " ".join(sentences)


def _article(rng: random.Random, topic: str, sentences: Sequence[str]) -> str:
    cut = rng.randint(1, len(sentences) - 1) if len(sentences) > 1 else 1
    parts = [" ".join(sentences[:cut]), " ".join(sentences[cut:])]
    return "\n\n".join([topic.capitalize(), *(part for part in parts if part)])


def _points(rng: random.Random, topic: str, sentences: Sequence[str]) -> str:
    return "\n".join([f"What is known about {topic}:", *(f"- {text}" for text in sentences)])


def _sections(rng: random.Random, topic: str, sentences: Sequence[str]) -> str:
    cut = max(1, len(sentences) // 2)
    lines = [f"== {topic.capitalize()} ==", " ".join(sentences[:cut])]
    if sentences[cut:]:
        lines += ["== See also ==", " ".join(sentences[cut:])]
    return "\n".join(lines)


def _letter(rng: random.Random, topic: str, sentences: Sequence[str]) -> str:
    return f"Dear friend, this is what I have learned about {topic}:\n" + " ".join(sentences)


def _retold(rng: random.Random, topic: str, sentences: Sequence[str]) -> str:
    # "Those that" and "Among" begin sentences; behind an opening they would read as a clause of their own.
    openings = [rng.choice(("", *OPENINGS)) if text[0].islower() else "" for text in sentences]
    return " ".join(map(with_preamble, openings, sentences))


STYLES: dict[str, Callable[[random.Random, str, Sequence[str]], str]] = {
    "plain": _plain,
    "article": _article,
    "points": _points,
    "sections": _sections,
    "letter": _letter,
    "retold": _retold,
}
