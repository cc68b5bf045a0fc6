"""Family trees as data."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain.worlds.family import family

from .horn import KINSHIP, closure, family_facts


def facts_of(documents):
    return {fact for document in documents for fact in family_facts(document["text"])}


def sentence_of(probe, choice):
    (fact,) = family_facts(f"{probe['prompt']} {choice}")
    return fact


def check(world):
    by_id = {document["id"]: document for document in world.documents}
    known = closure(facts_of(world.documents), KINSHIP)
    stands = defaultdict(set)
    for _, relation, person in known:
        stands[relation].add(person)
    text = "\n".join(document["text"] for document in world.documents)
    for probe in world.probes:
        right = sentence_of(probe, probe["answer"])
        sources = [by_id[source] for source in probe["metadata"]["sources"]]
        assert len(sources) == int(probe["metadata"]["steps"])
        assert right in closure(facts_of(sources), KINSHIP), probe
        assert len(set(probe["choices"])) == len(probe["choices"])
        for choice in probe["choices"]:
            assert (sentence_of(probe, choice) in known) is (choice == probe["answer"]), (probe, choice)
            relation = probe["prompt"].split()[3]
            assert choice.rstrip(".") in stands[relation], "wrong choices are such of somebody else"
        stated = f"{probe['prompt']} {probe['answer']}" in text
        assert stated is (probe["kind"] == "forward"), probe


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_follows_at_full_size_and_no_wrong_choice_does(seed):
    world = family(seed)
    assert len(facts_of(world.documents)) == 180
    assert len(world.documents) == 540
    check(world)
    assert Counter(p["kind"] for p in world.probes) == {
        "forward": 180,
        "inverse": 180,
        "sibling": 90,
        "grandparent": 60,
        "grandchild": 60,
    }
    assert {len(p["choices"]) for p in world.probes} == {4}


def test_half_of_the_links_are_said_from_either_end():
    texts = [d["text"] for d in family(0).documents]
    assert 0.35 < sum(" parent of " in text for text in texts) / len(texts) < 0.65


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.integers(2, 4),
    st.lists(st.integers(1, 3), min_size=2, max_size=3).map(tuple),
    st.booleans(),
)
def test_families_of_any_seed_and_shape(seed, families, children, couples):
    check(family(seed, families=families, children=children, couples=couples, repeats=1))
