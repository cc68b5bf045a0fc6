from collections import Counter

import pytest

from ingrain.worlds import GENERATORS, HELDOUT_WORDINGS, WORDINGS, in_context, sized
from ingrain.worlds import comparisons as texts


def test_the_default_suite_has_at_least_170_probes_of_each_kind_that_the_study_reports():
    suite = GENERATORS["suite"](0)
    counts = Counter((probe["metadata"]["world"].split("-")[1], probe["kind"]) for probe in suite.probes)
    assert counts["reversals", "reversal"] >= 170
    assert counts["reversals", "forward"] >= 170
    assert counts["syllogisms", "syllogism"] >= 170
    assert len({document["metadata"]["world"] for document in suite.documents}) == 25


def test_sizes_are_parameters():
    suite = GENERATORS["suite"](
        0, reversal_worlds=2, facts=3, repeats=2, syllogism_worlds=1, syllogism_count=2, catalogues=0
    )
    assert len(suite.documents) == 2 * 3 * 2 + 2
    assert len(suite.probes) == 2 * 3 * 2 + 2 * 2


def test_suites_of_two_seeds_share_no_id():
    suites = [GENERATORS["suite"](seed) for seed in (0, 1)]
    first, second = ({row["id"] for row in s.documents + s.probes} for s in suites)
    assert not first & second


@pytest.mark.parametrize("repeats", [1, 10])
def test_each_fact_is_said_as_often_as_asked(repeats):
    world = GENERATORS["reversals"](0, facts=5, repeats=repeats)
    counts = Counter(document["metadata"]["fact"] for document in world.documents)
    assert set(counts.values()) == {repeats}
    assert len({document["text"] for document in world.documents}) == 5 * repeats


def test_held_out_relations_preambles_and_wordings_are_apart_from_the_others():
    assert len(texts.DIMENSIONS) == 28
    assert not set(texts.DIMENSIONS) & set(texts.HELDOUT_DIMENSIONS)
    assert not set(texts.PREAMBLES) & set(texts.HELDOUT_PREAMBLES)
    for operation, wordings in WORDINGS.items():
        assert len(HELDOUT_WORDINGS[operation]) == 2
        assert not set(wordings) & set(HELDOUT_WORDINGS[operation])
        assert all(w == w.strip() for w in wordings + HELDOUT_WORDINGS[operation])


def test_the_house_format_of_a_context():
    assert in_context(["a b.", "c d."], "a") == "a b.\nc d.\n\na"


def test_lists_spread_over_three_documents_or_are_refused():
    with pytest.raises(ValueError, match="three documents"):
        GENERATORS["catalogue"](0, per_purpose=2)


def test_reversals_and_syllogisms_have_the_papers_sizes():
    reversals = sized("reversals", 0, "paper")
    told = Counter(document["metadata"]["fact"] for document in reversals.documents)
    assert (len(told), set(told.values())) == (100, {10})
    assert len({document["text"] for document in reversals.documents}) == 1000
    assert {(p["kind"], len(p["choices"])) for p in reversals.probes} == {("forward", 2), ("reversal", 2)}
    adjectives = {word for d in texts.DIMENSIONS for word in (d.high, d.low)}
    used = {a for a in adjectives if any(f" {a} than " in d["text"] for d in reversals.documents)}
    assert len([d for d in texts.DIMENSIONS if used & {d.high, d.low}]) == 28
    syllogisms = sized("syllogisms", 0, "paper")
    assert len(syllogisms.documents) == 69
    asked = [p for p in syllogisms.probes if p["kind"] == "syllogism"]
    assert len(asked) == 69
    assert {len(p["choices"]) for p in asked} == {6}


@pytest.mark.parametrize(("world", "size"), [("cats", "small"), ("catalogue", "paper")])
def test_unknown_worlds_and_sizes_are_refused(world, size):
    with pytest.raises(ValueError, match=r"there is no world|in the sizes small"):
        sized(world, 0, size)
