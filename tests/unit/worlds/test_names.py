import random

import pytest

from ingrain.worlds import names
from ingrain.worlds.deny import ENGLISH


def test_pools_share_no_name_and_hold_no_english_word():
    benchmark, pretrain = set(names.pool()), set(names.pool(names.PRETRAIN))
    assert not benchmark & pretrain
    assert not (benchmark | pretrain) & ENGLISH
    assert len(benchmark) > 5_000
    assert len(pretrain) > 20_000


def test_every_name_splits_in_one_way_only():
    for name in names.pool():
        splits = [
            (name[:cut], name[cut:])
            for cut in range(1, len(name))
            if name[:cut] in names.FIRST_PARTS and name[cut:] in names.SECOND_PARTS
        ]
        assert len(splits) == 1, name
        assert 4 <= len(name) <= 6


def test_a_source_never_repeats_a_name():
    source = names.NameSource(random.Random(0))
    assert len(set(source.take(2_000))) == 2_000


def test_a_source_says_when_the_pool_is_too_small():
    source = names.NameSource(random.Random(0))
    with pytest.raises(ValueError, match="pool is too small"):
        source.take(len(names.pool()))


def test_a_source_of_short_names_draws_no_longer_ones():
    drawn = names.NameSource(random.Random(0), longest=5).take(1_000)
    assert {len(name) for name in drawn} == {4, 5}
    assert set(drawn) <= set(names.pool())
