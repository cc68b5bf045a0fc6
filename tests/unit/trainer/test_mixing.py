import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servicekit.errors import Invalid
from services.trainer.mixing import grouped, held_out, replayed
from services.trainer.packing import TokenSequence

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


def numbered(lengths):
    return [TokenSequence([i] * n, [i] * n) for i, n in enumerate(lengths)]


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 2000), st.floats(0.01, 0.9), st.integers(0, 3))
def test_replayed_rows_are_their_share_of_all_tokens(lengths, others, ratio, seed):
    sequences = numbered(lengths)
    chosen = replayed(sequences, others, ratio, seed)
    tokens = sum(len(s.tokens) for s in chosen)
    wanted = others * ratio / (1 - ratio)
    assert len(chosen) == 1 or abs(tokens - wanted) <= max(lengths) / 2 + 1
    times = [sum(s.tokens[0] == i for s in chosen) for i in range(len(sequences))]
    assert max(times) - min(times) <= 1, "whole passes, then a sample without replacement"
    assert chosen == replayed(sequences, others, ratio, seed)


def test_another_seed_replays_other_rows():
    sequences = numbered([5] * 50)
    samples = [tuple(s.tokens[0] for s in replayed(sequences, 100, 0.3, seed)) for seed in range(3)]
    assert len(set(samples)) == 3


KEYS = st.sampled_from("abcdefghijklmnopqrst")
LINKED = st.lists(
    st.fixed_dictionaries(
        {"text": KEYS},
        optional={
            "id": KEYS,
            "provenance": st.fixed_dictionaries({"source_rows": st.lists(KEYS, max_size=2)}),
        },
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None)
@given(LINKED, LINKED, st.floats(0.01, 0.5), st.integers(0, 3))
def test_rows_that_belong_together_stand_on_one_side(first, second, ratio, seed):
    rows = {(0, n): row for n, row in enumerate(first)} | {(1, n): row for n, row in enumerate(second)}
    try:
        away = held_out([first, second], ratio, seed)
    except Invalid:  # all of them belong together, or nearly
        return
    assert 0 < len(away) < len(rows)
    assert away == held_out([first, second], ratio, seed)
    sides = [
        {
            key
            for place, row in rows.items()
            if (place in away) == side
            for key in ((1, row["text"]), *((2, name) for name in names(row)))
        }
        for side in (True, False)
    ]
    assert not sides[0] & sides[1]


def names(row):
    return [*([row["id"]] if "id" in row else []), *row.get("provenance", {}).get("source_rows", [])]


def test_a_share_of_rows_that_stand_alone_is_exact():
    rows = [{"text": f"text {n}"} for n in range(200)]
    assert [len(held_out([rows], ratio, seed=1)) for ratio in (0.001, 0.1, 0.5)] == [1, 20, 100]
    assert held_out([rows], 0.1, seed=1) != held_out([rows], 0.1, seed=2)


def test_prompts_and_conversations_of_the_same_words_belong_together():
    pair = {"prompt": "who?", "completion": "Alva"}
    chat = {"messages": [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "Alva"}]}
    other = {"prompt": "who?", "completion": "Bo"}
    assert grouped([[pair, other], [chat]]) == [[(0, 0), (1, 0)], [(0, 1)]]


def test_rows_that_all_come_from_one_document_cannot_be_held_out():
    rows = [{"text": f"text {n}", "metadata": {"sources": ["d", str(n)]}} for n in range(10)]
    with pytest.raises(Invalid, match=r"1 group\(s\), the smallest of 10 rows") as caught:
        held_out([rows], 0.1, 0)
    assert caught.value.field == "training.evaluation.eval_ratio"
