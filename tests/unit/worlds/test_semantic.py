"""The semantic world as data: at the paper's size, and at other shapes for any seed."""

import re
from collections import Counter, defaultdict
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain.worlds.deny import ENGLISH
from ingrain.worlds.names import pool
from ingrain.worlds.semantic import semantic

from .horn import INHERITANCE, closure, taxonomy_facts, taxonomy_sentence

SEEDS = (0, 1, 5)


@cache
def paper(seed):
    return semantic(seed)


def facts_of(documents):
    return {fact for document in documents for fact, _ in taxonomy_facts(document["text"])}


def sentence_of(probe, choice):
    return taxonomy_sentence(f"{probe['prompt']} {choice}".removesuffix("."))[0]


def check(world):
    """Every answer follows from the documents, and from its sources alone; no wrong choice does; each wrong choice is
    right of something else; no document has the sentence."""
    by_id = {document["id"]: document for document in world.documents}
    known = closure(facts_of(world.documents), INHERITANCE)
    subjects, values = defaultdict(set), defaultdict(set)
    for subject, relation, value in known:
        subjects[relation].add(subject)
        values[relation].add(value)
    text = "\n".join(document["text"] for document in world.documents)
    for probe in world.probes:
        right = sentence_of(probe, probe["answer"])
        sources = [by_id[source] for source in probe["metadata"]["sources"]]
        assert right in closure(facts_of(sources), INHERITANCE), probe
        stated = f"{probe['prompt']} {probe['answer']}" in text
        assert stated is (probe["kind"] == "forward"), probe
        assert len(set(probe["choices"])) == len(probe["choices"])
        for choice in probe["choices"]:
            fact = sentence_of(probe, choice)
            assert (fact in known) is (choice == probe["answer"]), (probe, choice)
            subject, relation, value = fact
            stands = value in values[relation] if subject == right[0] else subject in subjects[relation]
            assert stands, (probe, choice)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_answer_follows_at_the_papers_size_and_no_wrong_choice_does(seed):
    check(paper(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_are_the_papers(seed):
    world = paper(seed)
    facts = facts_of(world.documents)
    categories = {c for s, r, v in facts if r == "kind" for c in (s, v)}
    assert len(categories) == 110
    own = Counter(subject for subject, relation, _ in facts if relation != "kind")
    assert set(own.values()) == set(range(1, 7))
    articles = [d for d in world.documents if d["metadata"]["style"] != "question"]
    assert len(articles) == 2200
    assert len(world.documents) - len(articles) == 220
    lengths = {len(re.findall(r"\.(?=\s|$)", d["text"])) for d in articles}
    assert lengths == set(range(4, 21))
    styles = Counter(d["metadata"]["style"] for d in articles)
    assert len(styles) == 6
    assert min(styles.values()) > 300
    counts = Counter(p["kind"] for p in world.probes)
    # Of held-out categories all that follows is asked, as far as that is no more.
    assert 100 < counts.pop("category-holdout") <= 160
    assert counts == dict.fromkeys(("rephrase", "reversal", "syllogism"), 160)
    assert {len(p["choices"]) for p in world.probes} == {4}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fact_stands_in_an_article_and_most_in_many(seed):
    world = paper(seed)
    articles = [d for d in world.documents if d["metadata"]["style"] != "question"]
    told = Counter(fact for d in articles for fact in d["metadata"]["fact"].split(","))
    said = [{fact for fact, _ in taxonomy_facts(d["text"])} for d in articles]
    assert {len(facts) for facts in said} <= set(range(4, 21))
    assert all(
        len(facts) == len(d["metadata"]["fact"].split(",")) for facts, d in zip(said, articles, strict=True)
    )
    assert len(told) == len(facts_of(world.documents))
    assert sorted(told.values())[len(told) // 2] >= 10


@pytest.mark.parametrize("seed", SEEDS)
def test_all_content_words_are_invented_and_short(seed):
    world = paper(seed)
    words = {w for s, _, v in facts_of(world.documents) for w in (s, *v.split())}
    assert {len(word) for word in words} == {4, 5}
    assert words <= set(pool())
    assert not words & ENGLISH


@pytest.mark.parametrize("seed", SEEDS)
def test_of_held_out_categories_only_the_parent_is_told(seed):
    world = paper(seed)
    facts = facts_of(world.documents)
    hidden = {sentence_of(p, p["answer"])[0] for p in world.probes if p["kind"] == "category-holdout"}
    assert len(hidden) == 12
    for category in hidden:
        about = [fact for fact in facts if category in (fact[0], *fact[2].split())]
        assert [(s, r) for s, r, _ in about] == [(category, "kind")]
    others = {sentence_of(p, p["answer"])[0] for p in world.probes if p["kind"] != "category-holdout"}
    assert not hidden & others


@pytest.mark.parametrize("seed", SEEDS)
def test_reversals_are_of_facts_that_documents_say_in_one_direction_only(seed):
    world = paper(seed)
    said = {fact_way for d in world.documents for fact_way in taxonomy_facts(d["text"])}
    backwards = {fact for fact, way in said if way}
    assert len(backwards) > 100, "other facts are said both ways"
    asked = {sentence_of(p, p["answer"]) for p in world.probes if p["kind"] == "reversal"}
    assert not asked & backwards


def test_rephrasings_use_wordings_that_no_document_has():
    text = "\n".join(d["text"] for d in paper(0).documents)
    for wording in ("belong to the", "know how to", "are said to be", "come with", "are known to"):
        assert wording not in text
        assert any(p["prompt"].endswith(wording) for p in paper(0).probes if p["kind"] == "rephrase")


def test_inferences_take_two_to_four_facts_and_are_of_both_sorts():
    counts = Counter(
        (p["metadata"]["inference"], p["metadata"]["steps"])
        for p in paper(0).probes
        if p["kind"] == "syllogism"
    )
    assert set(counts) == {
        ("category", "2"),
        ("category", "3"),
        ("property", "2"),
        ("property", "3"),
        ("property", "4"),
    }
    assert min(counts.values()) >= 10


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(2, 6), (4, 16), (2, 4, 8), (1, 3, 9)]),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_small_trees_of_any_seed_and_shape(seed, levels, heldout, most):
    world = semantic(seed, "small", levels=levels, heldout=heldout, own=(1, most), documents=40)
    check(world)
    assert {len(taxonomy_facts(d["text"])) for d in world.documents} == {1}


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(30, 60), st.floats(0, 1))
def test_articles_of_any_seed(seed, documents, two_way):
    world = semantic(
        seed, levels=(2, 4, 8), documents=documents, questions=5, heldout=2, two_way=two_way, probes=20
    )
    assert len(world.documents) == documents + 5
    check(world)


@pytest.mark.parametrize("changes", [{"heldout": 84}, {"levels": (3,)}, {"documents": 100}])
def test_impossible_shapes_are_refused(changes):
    with pytest.raises(ValueError, match="held"):
        semantic(0, **changes)
