"""Forward chaining over facts of three words, and readers that turn the worlds' sentences into such; knows no generator."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache

Fact = tuple[str, str, str]  # subject, relation, object; words that begin with ? are variables of rules
Rule = tuple[tuple[Fact, ...], Fact]

INHERITANCE: tuple[Rule, ...] = (((("?a", "kind", "?b"), ("?b", "?r", "?v")), ("?a", "?r", "?v")),)
KINSHIP: tuple[Rule, ...] = (
    ((("?p", "parent", "?c"),), ("?c", "child", "?p")),
    ((("?p", "parent", "?a"), ("?p", "parent", "?b")), ("?a", "sibling", "?b")),
    ((("?g", "parent", "?p"), ("?p", "parent", "?c")), ("?g", "grandparent", "?c")),
    ((("?g", "parent", "?p"), ("?p", "parent", "?c")), ("?c", "grandchild", "?g")),
)


def closure(facts: Iterable[Fact], rules: Iterable[Rule]) -> set[Fact]:
    """All that follows. Nobody is related to themselves."""
    known: set[Fact] = set()
    by_subject: dict[str, list[Fact]] = defaultdict(list)
    new = set(facts)
    rules = list(rules)
    while new:
        for fact in new:
            by_subject[fact[0]].append(fact)
        known |= new
        new = {
            fact
            for body, head in rules
            for binding in _solutions(body, {}, known, by_subject)
            if (fact := _filled(head, binding))[0] != fact[2]
        } - known
    return known


def _solutions(
    body: tuple[Fact, ...], binding: dict[str, str], known: set[Fact], by_subject: dict[str, list[Fact]]
) -> Iterator[dict[str, str]]:
    if not body:
        yield binding
        return
    atom = _filled(body[0], binding)
    for fact in known if atom[0].startswith("?") else by_subject.get(atom[0], ()):
        bound = dict(binding)
        if all(
            bound.setdefault(term, word) == word if term.startswith("?") else term == word
            for term, word in zip(atom, fact, strict=True)
        ):
            yield from _solutions(body[1:], bound, known, by_subject)


def _filled(atom: Fact, binding: dict[str, str]) -> Fact:
    first, second, third = (binding.get(term, term) for term in atom)
    return (first, second, third)


# Sentences about categories: pattern, relation, whether the value comes first.
TAXONOMY = [
    (re.compile(pattern), relation, backwards)
    for pattern, relation, backwards in (
        (r"(\w+) are (?:a kind|a sort|one of the kinds) of (\w+)", "kind", False),
        (r"(\w+) belong to the (\w+)", "kind", False),
        (r"Among the (\w+) are (\w+)", "kind", True),
        (r"(?:Those|Among those) that are (\w+) (?:include|are) (\w+)", "is", True),
        (r"(?:Those|Among those) that can (\w+) (?:include|are) (\w+)", "can", True),
        (r"(?:Those|Among those) that have (\w+) (?:include|are) (\w+)", "have", True),
        (r"(?:Those|Among those) that (\w+ \w+), (?:among others, are|we find) (\w+)", "does", True),
        (r"(\w+) include (\w+)", "kind", True),
        (r"(\w+) (?:can|are able to|are often seen to|know how to) (\w+)", "can", False),
        (r"(\w+) (?:possess|are born with|come with) (\w+)", "have", False),
        (r"(\w+) (?:are usually|have always been|are said to be) (\w+)", "is", False),
        (r"(\w+) are (\w+)", "is", False),
        (r"(\w+) have (\w+)", "have", False),
        (r"(\w+) (?:always|like to|are known to) (\w+ \w+)", "does", False),
        (r"(\w+) (\w+ \w+)", "does", False),
    )
]
QUESTIONS = [
    (re.compile(pattern), relation)
    for pattern, relation in (
        (r"What are (\w+) a kind of\?", "kind"),
        (r"What is one thing that (\w+) are\?", "is"),
        (r"What is one thing that (\w+) can do\?", "can"),
        (r"What is one thing that (\w+) have\?", "have"),
        (r"What is one thing that (\w+) do\?", "does"),
    )
]
OPENING = re.compile(r"[A-Z][a-z ]+?(?:,| that|\?) ")
FAMILY = re.compile(r"(\w+) is (?:the|a) (parent|child|sibling|grandparent|grandchild) of (\w+)\.")


def taxonomy_sentence(text: str) -> tuple[Fact, bool]:
    """The fact of a sentence without its full stop, and whether it is said from the other end."""
    for attempt in (text, OPENING.sub("", text, count=1)):
        for pattern, relation, backwards in TAXONOMY:
            if match := pattern.fullmatch(attempt):
                first, second = match.groups()
                return ((second, relation, first) if backwards else (first, relation, second)), backwards
    raise AssertionError(f"cannot read {text!r}")


@cache
def taxonomy_facts(text: str) -> list[tuple[Fact, bool]]:
    """Every sentence of a document; headings say nothing."""
    if match := re.fullmatch(r"Question: (.*)\nAnswer: (.*)\.", text):
        found = [(p.fullmatch(match[1]), relation) for p, relation in QUESTIONS]
        ((subject, relation),) = [(m[1], relation) for m, relation in found if m]
        return [((subject, relation, match[2]), False)]
    sentences = []
    for line in text.split("\n"):
        if line.endswith("."):
            sentences += [s for s in line.removeprefix("- ").removesuffix(".").split(". ") if s]
        else:
            assert not line or line.endswith(":") or re.fullmatch(r"[A-Z]\w+|== [\w ]+ ==", line), line
    return [taxonomy_sentence(sentence) for sentence in sentences]


def family_facts(text: str) -> set[Fact]:
    """Parents and children alike become parents."""
    return {
        (b, "parent", a) if relation == "child" else (a, relation, b)
        for a, relation, b in FAMILY.findall(text)
    }
