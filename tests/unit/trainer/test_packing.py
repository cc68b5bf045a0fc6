import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.packing import (
    IGNORED,
    TokenSequence,
    bins,
    nearest_steps,
    number_in_sequence,
    pack,
    pack_placed,
    repeat,
    rows_at,
    tokens_of,
)

LIMIT = 16
LENGTHS = st.lists(st.integers(1, LIMIT), min_size=1, max_size=60)


def numbered(lengths):
    """Sequences whose tokens tell which sequence they are of and where in it they stand."""
    return [TokenSequence(t := [i * LIMIT + j for j in range(n)], t) for i, n in enumerate(lengths)]


@settings(deadline=None)
@given(LENGTHS)
def test_every_length_is_in_one_row_and_no_row_is_over_the_limit(lengths):
    rows = bins(lengths, LIMIT)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= LIMIT for row in rows)
    # Two rows that would fit into one would be waste: at most one row is filled to a half or less.
    assert sum(sum(lengths[i] for i in row) <= LIMIT // 2 for row in rows) <= 1


@settings(deadline=None)
@given(LENGTHS, st.integers(0, 5))
def test_packed_rows_hold_each_sequence_whole_with_its_own_positions(lengths, seed):
    packed = pack(numbered(lengths), LIMIT, seed, padding_id=9999)
    found = {}
    for r, count in enumerate(packed.token_count_R):
        starts = [*np.flatnonzero(packed.position_ids_RL[r, :count] == 0), count]
        for start, end in itertools.pairwise(starts):
            tokens = packed.input_ids_RL[r, start:end].tolist()
            assert packed.position_ids_RL[r, start:end].tolist() == list(range(end - start))
            assert packed.labels_RL[r, start] == IGNORED, "nothing is predicted from the segment before"
            assert packed.labels_RL[r, start + 1 : end].tolist() == tokens[1:]
            found[tokens[0] // LIMIT] = tokens
        assert (packed.input_ids_RL[r, count:] == 9999).all()
        assert (packed.labels_RL[r, count:] == IGNORED).all()
        assert packed.position_ids_RL[r, count:].tolist() == list(range(LIMIT - count))
    assert found == {i: list(s.tokens) for i, s in enumerate(numbered(lengths))}


SEQUENCES = st.lists(
    st.lists(st.tuples(st.integers(0, 999), st.booleans()), min_size=1, max_size=LIMIT),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(SEQUENCES, st.integers(-2, 5))
def test_no_token_is_lost_no_sequence_split_and_every_label_kept(pairs, seed):
    sequences = [
        TokenSequence([t for t, _ in one], [t if learned else IGNORED for t, learned in one]) for one in pairs
    ]
    packed, sequence_RL = pack_placed(sequences, LIMIT, seed, padding_id=0)
    found = {}
    for r, count in enumerate(packed.token_count_R):
        starts = [*np.flatnonzero(packed.position_ids_RL[r, :count] == 0), count]
        for start, end in itertools.pairwise(starts):
            (owner,) = set(sequence_RL[r, start:end].tolist())
            found[owner] = packed.input_ids_RL[r, start:end].tolist(), packed.labels_RL[r, start:end].tolist()
        assert (sequence_RL[r, count:] == -1).all()
    assert found == {i: (list(s.tokens), [IGNORED, *s.labels[1:]]) for i, s in enumerate(sequences)}, (
        "the first token of a sequence has nothing before it"
    )
    again = pack(sequences, LIMIT, seed, padding_id=0)
    assert all((vars(packed)[name] == vars(again)[name]).all() for name in vars(packed))


@settings(deadline=None)
@given(SEQUENCES, st.integers(0, 3))
def test_targets_are_numbered_in_the_order_of_their_sequence(pairs, seed):
    sequences = [
        TokenSequence([t for t, _ in one], [t if learned else IGNORED for t, learned in one]) for one in pairs
    ]
    first_S = np.array([-1 if i % 4 == 3 else 1000 * i for i in range(len(sequences))])
    packed, sequence_RL = pack_placed(sequences, LIMIT, seed, padding_id=0)
    numbers_RL = number_in_sequence(sequence_RL, packed.labels_RL, first_S)
    for i, sequence in enumerate(sequences):
        count = sum(label != IGNORED for label in sequence.labels[1:])
        expected = [] if i % 4 == 3 else list(range(1000 * i, 1000 * i + count))
        of_it = numbers_RL[sequence_RL == i]
        assert of_it[of_it >= 0].tolist() == expected


def test_the_seed_decides_the_order_and_nothing_else_does():
    sequences = numbered([3, 5, 7, 2, 9, 4, 4, 4])
    first, again, other = (pack(sequences, LIMIT, seed, 0).input_ids_RL for seed in (1, 1, 2))
    assert (first == again).all()
    assert first.tolist() != other.tolist()


@pytest.mark.parametrize(("weight", "count"), [(1.0, 10), (2.0, 20), (2.5, 25), (0.3, 3)])
def test_a_weight_is_passes_over_the_dataset(weight, count):
    sequences = numbered([1] * 10)
    repeated = repeat(sequences, weight, seed=3)
    assert len(repeated) == count
    times = [sum(s.tokens == other.tokens for other in repeated) for s in sequences]
    assert max(times) - min(times) <= 1


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(0, 40), st.integers(1, 20), st.integers(-3, 3))
def test_rows_at_gives_every_row_once_an_epoch_wherever_one_starts(row_count, position, count, seed):
    run = rows_at(0, position + count, row_count, seed)
    assert rows_at(position, count, row_count, seed) == run[position:]
    for start in range(0, len(run) - row_count + 1, row_count):
        assert sorted(run[start : start + row_count]) == list(range(row_count))


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 5), st.integers(0, 3), st.integers(1, 3000))
def test_steps_for_tokens_come_as_near_as_steps_can(lengths, rows_per_step, seed, wanted):
    counts = np.array(lengths, np.int32)
    chosen = nearest_steps(wanted, counts, rows_per_step, seed)
    trained, distance = 0, []
    for step in range(chosen + 2):
        rows = rows_at(step * rows_per_step, rows_per_step, len(counts), seed)
        trained += int(counts[rows].sum())
        distance.append(abs(trained - wanted))
        assert trained == tokens_of((step + 1) * rows_per_step, counts, seed)
    assert distance[chosen - 1] == min(distance)
    assert distance.index(min(distance)) == chosen - 1, "of two the smaller"


def test_steps_for_tokens_with_numbers():
    counts = np.array([10, 10, 10, 10], np.int32)
    found = [nearest_steps(wanted, counts, rows_per_step=2, seed=0) for wanted in (1, 20, 29, 31, 400)]
    assert found == [1, 1, 1, 2, 20]
