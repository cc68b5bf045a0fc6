"""Every answer follows from its world's documents, and no wrong choice does."""

import random
import re
from collections import Counter

import pytest

from ingrain.worlds import GENERATORS
from ingrain.worlds.logic import VALID_FORMS, draw_syllogism, six_statements

from .entail import CLAIM, COMPARISON, comparisons, entails

SEEDS = range(5)


def documents_of(world) -> str:
    return "\n".join(document["text"] for document in world.documents)


def of_kind(world, *kinds):
    return [probe for probe in world.probes if probe["kind"] in kinds]


@pytest.mark.parametrize("heldout", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_reversals(seed, heldout):
    world = GENERATORS["reversals"](seed, heldout_relations=heldout, heldout_preambles=heldout)
    known = comparisons(documents_of(world))
    for probe in of_kind(world, "forward", "reversal"):
        true = [
            choice
            for choice in probe["choices"]
            if set(COMPARISON.findall(f"{probe['prompt']} {choice}")) <= known
        ]
        assert true == [probe["answer"]]


@pytest.mark.parametrize("seed", SEEDS)
def test_syllogisms(seed):
    world = GENERATORS["syllogisms"](seed, count=69)
    premises = {
        (document["metadata"]["world"], document["metadata"]["fact"]): CLAIM.findall(document["text"])
        for document in world.documents
    }
    for probe in of_kind(world, "syllogism"):
        given = premises[probe["metadata"]["world"], probe["metadata"]["fact"]]
        true = [choice for choice in probe["choices"] if entails(given, CLAIM.fullmatch(choice).groups())]
        answer = probe["answer"]
        assert sorted(true) == sorted([answer] if isinstance(answer, str) else answer)


@pytest.mark.parametrize("form", VALID_FORMS)
def test_valid_forms_entail_their_conclusion_and_nothing_else(form):
    first, second, conclusion = form
    true = {
        claim
        for claim in (CLAIM.fullmatch(text).groups() for text in six_statements("A", "C"))
        if entails([first, second], claim)
    }
    quantifier, subject, predicate = conclusion
    expected = {conclusion}
    if quantifier != "All":
        expected.add((quantifier, predicate, subject))
    assert true == expected


def test_without_the_premises_no_statement_is_a_better_guess_than_another():
    rng = random.Random(0)
    right = Counter()
    for _ in range(4_000):
        claim = draw_syllogism(rng, ["a", "b", "c"]).conclusion
        right.update((c.quantifier, c.subject < c.predicate) for c in claim.equivalents)
    shares = [count / 4_000 for count in right.values()]
    # All in one direction is drawn from two that the probe cannot tell apart.
    assert sum(n for (q, _), n in right.items() if q == "All") / 4_000 == pytest.approx(0.5, abs=0.03)
    assert [s for (q, _), s in zip(right, shares, strict=True) if q != "All"] == pytest.approx(
        [0.25] * 4, abs=0.03
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_catalogue_lists_are_complete_and_spread(seed):
    world = GENERATORS["catalogue"](seed)
    for probe in of_kind(world, "list"):
        purpose = re.search(r"(?:for) ([a-z]+ [a-z]+)", probe["question"]).group(1)
        tool = re.compile(rf"(\w+) is an internal tool for {purpose}\.")
        hits = [tool.findall(document["text"]) for document in world.documents]
        assert {name for found in hits for name in found} == set(probe["answers"])
        assert sum(bool(found) for found in hits) >= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_catalogue_ownership_is_right_and_its_distractors_are_not(seed):
    world = GENERATORS["catalogue"](seed)
    owned = set(re.findall(r"(\w+) is owned by the (\w+) team\.", documents_of(world)))
    for probe in of_kind(world, "owner"):
        team = re.search(r"The (\w+) team owns", probe["prompt"]).group(1)
        true = [c for c in probe["choices"] if (c.rstrip("."), team) in owned]
        assert true == [probe["answer"]]


@pytest.mark.parametrize("seed", SEEDS)
def test_descriptions_answer_once(seed):
    world = GENERATORS["descriptions"](seed)
    text = documents_of(world)
    known = set(re.findall(r"(\w+) is the (\w+ of the \w+ \w+)\.", text))
    known |= {(n, d) for d, n in re.findall(r"The (\w+ of the \w+ \w+) is (\w+)\.", text)}
    for probe in of_kind(world, "forward", "reversal"):
        true = []
        for choice in probe["choices"]:
            sentence = f"{probe['prompt']} {choice}"
            if sentence.startswith("The "):
                d, n = re.fullmatch(r"The (.+) is (\w+)\.", sentence).groups()
            else:
                n, d = re.fullmatch(r"(\w+) is the (.+)\.", sentence).groups()
            if (n, d) in known:
                true.append(choice)
        assert true == [probe["answer"]]


@pytest.mark.parametrize("seed", SEEDS)
def test_hierarchy_inherits_from_the_category_alone(seed):
    world = GENERATORS["hierarchy"](seed)
    text = documents_of(world)
    parent = dict(re.findall(r"(\w+) are a kind of (\w+)\.", text))
    holds = set(re.findall(r"(\w+) ((?:can|have) \w+)\.", text))
    for probe in of_kind(world, "inheritance"):
        kind, verb = probe["prompt"].split()
        true = [c for c in probe["choices"] if (parent[kind], f"{verb} {c.rstrip('.')}") in holds]
        assert true == [probe["answer"]]
        assert not any(owner == kind for owner, _ in holds)
        sources = set(probe["metadata"]["sources"])
        read = "\n".join(d["text"] for d in world.documents if d["id"] in sources)
        assert len(sources) == 2
        assert f"{kind} are a kind of {parent[kind]}." in read
        assert f"{parent[kind]} {verb} {probe['answer']}" in read
    for probe in of_kind(world, "list"):
        category = re.search(r"kinds of (\w+)", probe["question"]).group(1)
        assert {kind for kind, owner in parent.items() if owner == category} == set(probe["answers"])
