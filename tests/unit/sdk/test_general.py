"""General probes and text are as they are said to be; held-out worlds are others each time."""

from collections import Counter

from ingrain import general
from ingrain.worlds.suite import suite


def test_general_probes_have_four_choices_and_one_right() -> None:
    rows = general.probes()
    assert len(rows) == 60
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == 60
    for row in rows:
        assert set(row) == {"id", "kind", "prompt", "choices", "answer", "metadata"}
        assert len(set(row["choices"])) == 4
        assert row["answer"] in row["choices"]
        assert row["answer"].rstrip(".").lower() not in row["prompt"].lower().split()
    assert {row["kind"] for row in rows} == {"general"}
    # The right one stands anywhere: who always takes one place is right one time in four.
    places = Counter(row["choices"].index(row["answer"]) for row in rows)
    assert all(8 <= places[place] <= 24 for place in range(4))


def test_general_texts_are_short_and_different() -> None:
    rows = general.text()
    assert len(rows) == len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 20
    assert all(30 <= len(row["text"].split()) <= 90 for row in rows)
    assert len({row["metadata"]["topic"] for row in rows}) == 20
    rows[0]["text"] = "changed"
    assert general.text()[0]["text"] != "changed"


def test_held_out_worlds_are_the_same_for_a_seed_and_asked_in_two_ways() -> None:
    made = general.held_out(5, worlds=2, facts=4)
    assert made == general.held_out(5, worlds=2, facts=4)
    assert made != general.held_out(6, worlds=2, facts=4)
    assert (len(made.text), len(made.probes), len(made.context), len(made.context_probes)) == (16, 32, 16, 32)
    for probe in made.probes:
        documents, _, asked = probe["prompt"].partition("\n\n")
        assert documents
        assert asked
        assert probe["kind"].startswith("read_")
    groups = {row["metadata"]["world"] for row in made.context}
    assert {probe["metadata"][made.group_key] for probe in made.context_probes} == groups
    known = {row["text"] for row in (*made.context, *made.text)}
    assert len(known) == 32  # the uses share no document
    assert not known & {document["text"] for document in suite(seed=5).documents}
    for rows in (made.text, made.probes, made.context, made.context_probes):
        assert len({row["id"] for row in rows}) == len(rows)
