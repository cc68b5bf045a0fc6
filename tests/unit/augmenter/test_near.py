"""Near duplicates are those of the exact similarity, whatever the sketches say."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.augmenter.gates.near import (
    FOUND,
    NearIndex,
    bands,
    near_duplicates,
    similarity,
    word_grams,
)

words = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=9).map(" ".join)


def exactly(texts: list[str], threshold: float) -> list[int | None]:
    """The same by comparing every pair."""
    kept: list[tuple[int, frozenset[str]]] = []
    found: list[int | None] = []
    for place, text in enumerate(texts):
        grams = word_grams(text)
        near = next((at for at, other in kept if similarity(grams, other) >= threshold), None)
        found.append(near)
        if near is None:
            kept.append((place, grams))
    return found


def test_grams_are_three_words_in_a_row() -> None:
    assert word_grams("A is, in fact, B.") == {"a is in", "is in fact", "in fact b"}
    assert word_grams("Two words") == {"two words"}
    assert word_grams("") == {""}


def test_the_threshold_is_the_similarity_itself() -> None:
    one, other = "one two three four five.", "one two three four six."
    assert similarity(word_grams(one), word_grams(other)) == 0.5  # two 3-grams of four
    assert near_duplicates([one, other], 0.5) == [None, 0]
    assert near_duplicates([one, other], 0.51) == [None, None]


def test_the_same_words_in_another_order_are_another_statement() -> None:
    assert near_duplicates(["ilma are older than brevo.", "brevo are older than ilma."], 0.5) == [None, None]


def test_what_is_dropped_is_no_measure_for_others() -> None:
    """The second is near to the first, the third to the second only."""
    texts = ["a b c d e f", "b c d e f g", "c d e f g h"]
    assert near_duplicates(texts, 0.6) == [None, 0, None]


@given(st.lists(words, max_size=30), st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]))
@settings(max_examples=150, deadline=None)
def test_nothing_under_the_threshold_counts(texts: list[str], threshold: float) -> None:
    for place, near in enumerate(near_duplicates(texts, threshold)):
        if near is not None:
            assert near < place
            assert similarity(word_grams(texts[place]), word_grams(texts[near])) >= threshold


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_as_good_as_comparing_every_pair(threshold: float) -> None:
    """3,000 statements made of 300 by changing words."""
    random_ = random.Random(7)
    vocabulary = [f"w{i}" for i in range(200)]
    first = [random_.choices(vocabulary, k=random_.randint(4, 14)) for _ in range(300)]
    texts = []
    for _ in range(3000):
        text = list(random_.choice(first))
        for _ in range(random_.randint(0, 2)):
            text[random_.randrange(len(text))] = random_.choice(vocabulary)
        texts.append(" ".join(text))
    wanted, found = exactly(texts, threshold), near_duplicates(texts, threshold)
    missed = sum(a is not None and b is None for a, b in zip(wanted, found, strict=True))
    near = sum(a is not None for a in wanted)
    assert near > 100
    assert missed <= 0.005 * near


def test_one_by_one_is_as_all_at_once() -> None:
    texts = ["a b c d e", "a b c d f", "x y z", "x y z", "x y"]
    index = NearIndex(0.5)
    assert [index.near(text) is None for text in texts] == [n is None for n in near_duplicates(texts, 0.5)]


@given(st.floats(min_value=0.02, max_value=1.0))
def test_bands_find_what_is_at_the_threshold(threshold: float) -> None:
    count = bands(threshold)
    found = 1 - (1 - threshold ** (128 // count)) ** count
    assert found >= FOUND or count == 128
