"""Names and descriptions in both orders as data."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain.worlds.reversal_curse import reversal_curse

DESCRIPTION = re.compile(r'the \w+ of (?:"[\w ]+"|the \w+ \w+)', re.IGNORECASE)


def pair_of(text, names):
    """The one name and the one description of a sentence, and which comes first."""
    (name,) = [name for name in names if re.search(rf"\b{name}\b", text)]
    (described,) = DESCRIPTION.findall(text)
    order = "p2d" if text.index(name) < text.index(described) else "d2p"
    return name, described[0].lower() + described[1:], order


def names_of(world):
    return {p["answer"].rstrip(".") for p in world.probes if not DESCRIPTION.match(p["answer"])}


def check(world):
    names = names_of(world)
    told = {document["id"]: pair_of(document["text"], names) for document in world.documents}
    known = {(name, described) for name, described, _ in told.values()}
    orders = {(name, order) for name, _, order in told.values()}
    texts = {document["text"] for document in world.documents}
    for probe in world.probes:
        group, asked = probe["kind"].split("-")
        name, described, order = pair_of(f"{probe['prompt']} {probe['answer']}", names)
        assert order == probe["metadata"]["order"]
        # The order of the documents, or the other one in which no document tells of this person.
        assert ((name, order) in orders) is (asked == "same")
        assert {o for n, o in orders if n == name} == ({group} if group != "both" else {"p2d", "d2p"})
        assert [told[source][:2] for source in probe["metadata"]["sources"]] == [(name, described)]
        assert len(set(probe["choices"])) == len(probe["choices"])
        for choice in probe["choices"]:
            pair = pair_of(f"{probe['prompt']} {choice}", names)[:2]
            assert (pair in known) is (choice == probe["answer"])
        assert f"{probe['prompt']} {probe['answer']}" not in texts


@pytest.mark.parametrize("seed", range(3))
def test_sizes_are_those_of_berglund_and_every_answer_follows(seed):
    world = reversal_curse(seed)
    assert len({document["text"] for document in world.documents}) == 3600
    assert Counter(d["metadata"]["order"] for d in world.documents) == {"p2d": 1800, "d2p": 1800}
    told = Counter((d["metadata"]["fact"], d["metadata"]["order"]) for d in world.documents)
    assert set(told.values()) == {30}
    assert len(told) == 120
    assert Counter(p["kind"] for p in world.probes) == {
        "p2d-same": 300,
        "p2d-reversal": 300,
        "d2p-same": 300,
        "d2p-reversal": 300,
        "both-same": 600,
    }
    assert {len(p["choices"]) for p in world.probes} == {4}
    assert len(names_of(world)) == 90
    check(world)


def test_test_wordings_stand_in_no_document():
    world = reversal_curse(0)
    text = "\n".join(document["text"] for document in world.documents)
    assert not any(probe["prompt"] in text for probe in world.probes)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 24))
def test_small_ones_of_any_seed(seed, people, paraphrases):
    world = reversal_curse(seed, "small", people=people, paraphrases=paraphrases)
    assert len(world.documents) == 4 * people * paraphrases
    check(world)
