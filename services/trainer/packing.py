"""Token sequences -> rows of `max_length` tokens (legend: R rows, L max_length).

Each sequence is a segment of its own: `position_ids` restart at 0, which is how transformers' attention masks tell
segments apart, and a segment's first label is -100, so that no token is predicted from a stranger. What is left of
a row is one more segment with labels of -100.
"""

import bisect
import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IGNORED = -100


@dataclass(frozen=True)
class TokenSequence:
    """`labels[i]` is `tokens[i]`, or -100 where no loss is taken."""

    tokens: Sequence[int]
    labels: Sequence[int]
    row: int = -1  # of its dataset, from 0
    first_target: int = -1  # where its targets begin among those that a teacher is asked for


@dataclass(frozen=True)
class Packed:
    """int32 arrays [R, L], and how many tokens of each row are no padding [R]."""

    input_ids_RL: np.ndarray
    position_ids_RL: np.ndarray
    labels_RL: np.ndarray
    token_count_R: np.ndarray


def repeat(sequences: Sequence[TokenSequence], weight: float, seed: int) -> list[TokenSequence]:
    """`weight` passes over the sequences; a fraction of a pass is a sample without replacement."""
    whole, rest = math.floor(weight), weight - math.floor(weight)
    sample = random.Random(seed).sample(range(len(sequences)), round(rest * len(sequences)))
    return list(sequences) * whole + [sequences[i] for i in sorted(sample)]


def bins(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Best-fit decreasing: the longest first, each into the fullest row that still takes it. Indices into `lengths`.

    All lengths are in 1..max_length. O(n log max_length).
    """
    rows: list[list[int]] = []
    rows_by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # keys of rows_by_room, sorted

    def put_back(row: int, room: int) -> None:
        if room == 0:
            return
        if room not in rows_by_room:
            bisect.insort(rooms, room)
            rows_by_room[room] = []
        rows_by_room[room].append(row)

    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = bisect.bisect_left(rooms, lengths[i])
        if at == len(rooms):
            rows.append([i])
            put_back(len(rows) - 1, max_length - lengths[i])
            continue
        room = rooms[at]
        row = rows_by_room[room].pop()
        if not rows_by_room[room]:
            del rows_by_room[room], rooms[at]
        rows[row].append(i)
        put_back(row, room - lengths[i])
    return rows


def pack(sequences: Sequence[TokenSequence], max_length: int, seed: int, padding_id: int) -> Packed:
    """Rows in an order that depends on nothing but the sequences and the seed."""
    return pack_placed(sequences, max_length, seed, padding_id)[0]


def pack_placed(
    sequences: Sequence[TokenSequence], max_length: int, seed: int, padding_id: int
) -> tuple[Packed, np.ndarray]:
    """The same, and of which sequence each token is: an index, -1 for padding [R, L]."""
    order = list(range(len(sequences)))
    random.Random(seed).shuffle(order)
    rows = bins([len(sequences[i].tokens) for i in order], max_length)
    shape = (len(rows), max_length)
    packed = Packed(
        input_ids_RL=np.full(shape, padding_id, np.int32),
        position_ids_RL=np.zeros(shape, np.int32),
        labels_RL=np.full(shape, IGNORED, np.int32),
        token_count_R=np.zeros(len(rows), np.int32),
    )
    sequence_RL = np.full(shape, -1, np.int32)
    for r, row in enumerate(rows):
        start = 0
        for i in row:
            sequence = sequences[order[i]]
            end = start + len(sequence.tokens)
            packed.input_ids_RL[r, start:end] = sequence.tokens
            packed.labels_RL[r, start + 1 : end] = sequence.labels[1:]
            packed.position_ids_RL[r, start:end] = np.arange(end - start)
            sequence_RL[r, start:end] = order[i]
            start = end
        packed.position_ids_RL[r, start:] = np.arange(max_length - start)
        packed.token_count_R[r] = start
    return packed, sequence_RL


def number_in_sequence(sequence_RL: np.ndarray, labels_RL: np.ndarray, first_S: np.ndarray) -> np.ndarray:
    """The targets' numbers, -1 where no target is [R, L]: those of sequence s count up from `first_S[s]`."""
    numbers_RL = np.full(labels_RL.shape, -1, np.int32)
    is_target_RL = (labels_RL != IGNORED) & (first_S[sequence_RL] >= 0) & (sequence_RL >= 0)
    rows, columns = np.nonzero(is_target_RL)
    # A sequence is whole in one row, so its targets follow one another.
    owners = sequence_RL[rows, columns]
    begins = (
        np.r_[True, (owners[1:] != owners[:-1]) | (rows[1:] != rows[:-1])] if len(rows) else np.zeros(0, bool)
    )
    places = np.arange(len(rows))
    numbers_RL[rows, columns] = first_S[owners] + places - np.maximum.accumulate(np.where(begins, places, 0))
    return numbers_RL


@functools.lru_cache(maxsize=2)
def epoch_order(row_count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([abs(seed), epoch]).permutation(row_count)


def tokens_of(row_count: int, token_count_R: np.ndarray, seed: int) -> int:
    """Tokens of the first `row_count` rows of the endless run of epochs, padding not counted."""
    epochs, rest = divmod(row_count, len(token_count_R))
    last = token_count_R[epoch_order(len(token_count_R), seed, epochs)[:rest]] if rest else token_count_R[:0]
    return epochs * int(token_count_R.sum()) + int(last.sum())


def nearest_steps(max_tokens: int, token_count_R: np.ndarray, rows_per_step: int, seed: int) -> int:
    """The number of steps, at least one, whose tokens come nearest to `max_tokens`; of two the smaller."""
    low, high = 1, 2
    while tokens_of(high * rows_per_step, token_count_R, seed) < max_tokens:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if tokens_of(middle * rows_per_step, token_count_R, seed) < max_tokens:
            low = middle
        else:
            high = middle
    return min(
        (low, high),
        key=lambda steps: abs(tokens_of(steps * rows_per_step, token_count_R, seed) - max_tokens),
    )


def rows_at(position: int, count: int, row_count: int, seed: int) -> list[int]:
    """Row numbers `position` .. `position + count` of the endless run of epochs, each in an order of its own."""
    numbers = []
    while len(numbers) < count:
        epoch, offset = divmod(position + len(numbers), row_count)
        order = epoch_order(row_count, seed, epoch)
        numbers += order[offset : offset + count - len(numbers)].tolist()
    return numbers
