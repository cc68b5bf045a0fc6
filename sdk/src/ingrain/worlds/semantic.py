"""Semantic structure (paper section 1.4): a tree of categories, and what follows for each from those above it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from . import articles, comparisons
from .comparisons import Statement, with_preamble
from .names import NameSource
from .phrases import PHRASES, filled
from .taxonomy import Fact, Taxonomy, grow
from .world import World, one_of, world_random


@dataclass(frozen=True)
class SemanticSize:
    """How large a tree and how much is said about it; the defaults are the paper's size."""

    levels: tuple[int, ...] = (2, 6, 18, 84)  # categories a level: 110
    own: tuple[int, int] = (1, 6)  # properties of a category, beside those that it inherits
    relations: tuple[str, ...] = ("is", "can", "have", "does")
    documents: int = 2200
    sentences: tuple[int, int] = (4, 20)  # of a document
    questions: int = 220  # documents that are a question with its answer, beside the others
    heldout: int = 12  # categories of which only is said what they are a kind of
    heldout_documents: int = 4  # that say so
    two_way: float = 0.5  # share of the facts that documents may also say from the other end
    probes: int = 160  # of each kind, where so many follow


SIZES = {
    "paper": SemanticSize(),
    # One fact a document, in the forms that the bundled model was pretrained for.
    "small": SemanticSize(
        levels=(4, 16),
        own=(1, 1),
        relations=("can",),
        documents=96,
        sentences=(1, 1),
        questions=0,
        heldout=4,
        heldout_documents=2,
        two_way=0.0,
        probes=24,
    ),
}


def semantic(
    seed: int,
    size: str = "paper",
    choices: int = 4,
    name: str = "",
    names: NameSource | None = None,
    **changes: Any,
) -> World:
    """Categories, their properties and what they inherit; `changes` are fields of SemanticSize.

    Kinds of probes: `forward` (only where a document is one sentence: that sentence), `rephrase` (a stated fact in a wording that no document has), `reversal` (from the other end, of facts
    that documents say in one direction only), `syllogism` (what holds of a category by those above it; `metadata.steps`
    facts are needed) and `category-holdout` (all that follows for a category of which only its parent is told). Wrong
    choices truly stand in the asked relation to something else. `metadata.inference` tells probes about `category` and
    `property` apart.
    """
    shape = replace(SIZES[size], **changes)
    if not 0 <= shape.heldout < shape.levels[-1] or len(shape.levels) < 2:
        raise ValueError(
            "a tree has at least two levels, and not all categories of the lowest can be held out"
        )
    rng = world_random("semantic", seed)
    world = World(name or f"semantic-{seed}")
    names = names or NameSource(rng, longest=5)
    taxonomy = grow(rng, names, shape.levels, shape.own, shape.relations, shape.heldout)
    common = [fact for fact in taxonomy.facts if fact.subject not in taxonomy.heldout]
    two_way = frozenset(rng.sample(common, round(shape.two_way * len(common))))
    numbers = {fact: number for number, fact in enumerate(taxonomy.facts)}
    if shape.sentences == (1, 1):
        _single_facts(world, rng, shape, taxonomy, numbers)
    else:
        _articles(world, rng, shape, taxonomy, numbers, two_way)
    for fact in (rng.choice(common) for _ in range(shape.questions)):
        world.document(articles.question(fact), [numbers[fact]], style="question")
    asker = Asker(world, rng, taxonomy, numbers, choices)
    for fact in _mixed(rng, common, shape.probes):
        asker.stated("rephrase", fact, PHRASES[fact.relation].reworded)
    for fact in _mixed(rng, [fact for fact in common if fact not in two_way], shape.probes):
        asker.reversed("reversal", fact)
    inherited = [
        fact
        for category in taxonomy.parent
        if category not in taxonomy.heldout
        for fact in _inherited(taxonomy, category)
    ]
    for fact in _mixed(rng, inherited, shape.probes):
        asker.stated("syllogism", fact)
    about_heldout = [Fact(c, "kind", taxonomy.parent[c]) for c in sorted(taxonomy.heldout)]
    further = [fact for c in sorted(taxonomy.heldout) for fact in _inherited(taxonomy, c)]
    for fact in about_heldout:
        asker.reversed("category-holdout", fact)
    for fact in _mixed(rng, further, max(0, shape.probes - len(about_heldout))):
        asker.stated("category-holdout", fact)
    if shape.sentences == (1, 1):
        for fact in _mixed(rng, common, shape.probes):
            asker.stated("forward", fact)
    return world.cited()


def _inherited(taxonomy: Taxonomy, category: str) -> list[Fact]:
    """All that follows for a category and is said of none but those above it."""
    above = taxonomy.above(category)
    found = [Fact(category, "kind", holder) for holder in above[1:]]
    for holder in above:
        found += [Fact(category, f.relation, f.value) for f in taxonomy.own(holder) if f.relation != "kind"]
    return list(dict.fromkeys(found))


def _mixed(rng: random.Random, facts: list[Fact], count: int) -> list[Fact]:
    """At most `count` of the facts, half of them about categories as far as there are such."""
    groups = [[f for f in facts if (f.relation == "kind") is kind] for kind in (True, False)]
    for group in groups:
        rng.shuffle(group)
    half = min(len(groups[0]), max(count // 2, count - len(groups[1])))
    return groups[0][:half] + groups[1][: count - half]


def _single_facts(
    world: World, rng: random.Random, shape: SemanticSize, taxonomy: Taxonomy, numbers: dict[Fact, int]
) -> None:
    """One fact a document behind a preamble, all facts in turn; held-out categories in no more than they may be."""
    said = [fact for fact in taxonomy.facts if fact.subject in taxonomy.heldout] * shape.heldout_documents
    common = [fact for fact in taxonomy.facts if fact.subject not in taxonomy.heldout]
    said += [common[n % len(common)] for n in range(max(len(common), shape.documents - len(said)))]
    rng.shuffle(said)
    for fact in said:
        text = filled(PHRASES[fact.relation].stated[0], fact.subject, fact.value).text
        world.document(with_preamble(rng.choice(comparisons.PREAMBLES), text), [numbers[fact]], style="plain")


def _articles(
    world: World,
    rng: random.Random,
    shape: SemanticSize,
    taxonomy: Taxonomy,
    numbers: dict[Fact, int],
    two_way: frozenset[Fact],
) -> None:
    """Articles about every category in turn, in a random order; the first of each says all of its own facts."""
    topics = [c for level in taxonomy.levels for c in level if c not in taxonomy.heldout]
    planned = [topics[number % len(topics)] for number in range(shape.documents)]
    plans = [
        (topic, articles.told(rng, taxonomy, topic, rng.randint(*shape.sentences), number < len(topics)))
        for number, topic in enumerate(planned)
    ]
    for category in sorted(taxonomy.heldout):
        _, *later = [n for n, topic in enumerate(planned) if topic == taxonomy.parent[category]]
        if not later:
            raise ValueError(
                f"{shape.documents} documents are too few to tell of held-out categories; {2 * len(topics)} are enough"
            )
        for number in rng.sample(later, min(len(later), shape.heldout_documents)):
            plans[number][1][-1] = Fact(category, "kind", taxonomy.parent[category])
    rng.shuffle(plans)
    for topic, facts in plans:
        style = rng.choice(tuple(articles.STYLES))
        rng.shuffle(facts)
        texts = [articles.sentence(rng, fact, fact in two_way) for fact in facts]
        text = articles.STYLES[style](rng, topic, texts)
        world.document(text, [numbers[fact] for fact in facts], style=style)


@dataclass(frozen=True)
class Asker:
    """Adds probes to a world; skips what has no wrong choice."""

    world: World
    rng: random.Random
    taxonomy: Taxonomy
    numbers: dict[Fact, int]
    choices: int

    def stated(self, kind: str, fact: Fact, wording: Statement | None = None) -> None:
        """Asks for the value of a fact."""
        taxonomy, relation = self.taxonomy, fact.relation
        known = {other.value for other in taxonomy.facts if other.relation == relation}
        if relation == "kind" and fact.value not in self._parents(fact.subject):
            # Like the right one, the wrong ones have something below what is right below them.
            known = {above for category in taxonomy.parent for above in taxonomy.above(category)[1:]}
        wrong = known - taxonomy.holds(fact.subject, relation) - {fact.subject}
        statement = wording or PHRASES[relation].stated[0]
        self._ask(kind, fact, statement, [(fact.subject, value) for value in sorted(wrong)])

    def reversed(self, kind: str, fact: Fact) -> None:
        """Asks of whom a value holds."""
        taxonomy, hidden = self.taxonomy, fact.subject in self.taxonomy.heldout
        wrong = {
            other.subject
            for other in taxonomy.facts
            if other.relation == fact.relation
            and (other.subject in taxonomy.heldout) is hidden
            and fact.value not in {other.subject, *taxonomy.holds(other.subject, fact.relation)}
        }
        alike = {subject for subject in wrong if taxonomy.level(subject) == taxonomy.level(fact.subject)}
        chosen = alike if len(alike) >= self.choices - 1 else wrong
        statement = PHRASES[fact.relation].reversed[0]
        self._ask(kind, fact, statement, [(subject, fact.value) for subject in sorted(chosen)])

    def _parents(self, category: str) -> set[str]:
        return {self.taxonomy.parent[category]} if category in self.taxonomy.parent else set()

    def _ask(self, kind: str, fact: Fact, statement: Statement, wrong: list[tuple[str, str]]) -> None:
        if not wrong:
            return
        right = filled(statement, fact.subject, fact.value)
        drawn = self.rng.sample(wrong, min(self.choices - 1, len(wrong)))
        shown = one_of(self.rng, right.rest, [filled(statement, a, b).rest for a, b in drawn])
        needed = [self.numbers[f] for f in self._needed(fact)]
        inference = "category" if fact.relation == "kind" else "property"
        self.world.choice(
            kind, right.prompt, shown, right.rest, *needed, inference=inference, steps=str(len(needed))
        )

    def _needed(self, fact: Fact) -> list[Fact]:
        """The stated facts from which it follows."""
        if fact in self.numbers:
            return [fact]
        if fact.relation == "kind":
            return self.taxonomy.chain(fact.subject, fact.value)
        holder = next(
            c for c in self.taxonomy.above(fact.subject) if Fact(c, fact.relation, fact.value) in self.numbers
        )
        return [*self.taxonomy.chain(fact.subject, holder), Fact(holder, fact.relation, fact.value)]
