import random
import re

import pytest

from ingrain.worlds import HELDOUT_WORDINGS, comparisons, relations
from ingrain.worlds.names import BENCHMARK, FIRST_PARTS, SECOND_PARTS, pool_of

episodes = pytest.importorskip("episodes")
batches = pytest.importorskip("batches")
topics = pytest.importorskip("topics")
text = pytest.importorskip("tokenizer")
vocabulary = pytest.importorskip("vocabulary")

SAMPLES = 3_000


@pytest.fixture(scope="module")
def drawn():
    rng = random.Random("test")
    return [episodes.draw(rng, rng.choice((4, 8, 16, 32))) for _ in range(SAMPLES)]


def test_a_seed_gives_the_same_episodes_again():
    first, second = (
        [episodes.draw(rng, 8).text for _ in range(50)] for rng in (random.Random(1), random.Random(1))
    )
    assert first == second


def test_no_name_of_the_benchmark_occurs(drawn):
    shaped = {a + b for a in FIRST_PARTS for b in SECOND_PARTS}
    known = set(vocabulary.words())
    for episode in drawn:
        words = set(re.findall(r"\b[a-z]+", episode.text)) & shaped - known
        # An invented adjective is a name with an ending, which may look like another name.
        bare = {word for word in words if not word.endswith((*topics.ENDINGS[1:], "s"))}
        assert not {word for word in bare if pool_of(word) == BENCHMARK}


def test_nothing_held_out_occurs(drawn):
    everything = "\n".join(episode.text for episode in drawn)
    adjectives = [d.high.removeprefix("more ") for d in comparisons.HELDOUT_DIMENSIONS]
    prompts = [
        re.split(r"[{]", wording)[0].strip() for wordings in HELDOUT_WORDINGS.values() for wording in wordings
    ]
    unseen = [*adjectives, *comparisons.HELDOUT_PREAMBLES, *relations.HELDOUT_PURPOSES]
    unseen += [what.split()[1] for what in relations.HELDOUT_PROPERTIES]
    unseen += [f"the {role} of" for role in relations.HELDOUT_ROLES]
    unseen += [listing.many for listing in relations.HELDOUT_LISTINGS]
    unseen += [prompt.rstrip(":") for prompt in prompts if prompt != "Question:"]
    for words in unseen:
        assert not re.search(rf"\b{re.escape(words)}\b", everything), words


def test_every_kind_of_episode_is_drawn(drawn):
    families = {episode.family for episode in drawn}
    for family in topics.FAMILIES:
        assert {family, f"{family}-infer", f"{family}-about", f"{family}-link"} <= families
    assert {"copy", "plain"} <= families


def test_weights_follow_their_tokens():
    encoder = text.WordEncoder(text.build(vocabulary.words()))
    rng = random.Random(2)
    for _ in range(200):
        episode = episodes.draw(rng, 6)
        ids, weights = batches.encode(episode, encoder)
        assert len(ids) == len(weights)
        assert ids == [batches.BOS_ID, *encoder(episode.text), batches.EOS_ID]


def test_batches_have_few_shapes_and_about_the_asked_size():
    encoder = text.WordEncoder(text.build(vocabulary.words()))
    stream = batches.stream(lambda r: episodes.draw(r, 4), random.Random(3), encoder, 2048)
    for _ in range(20):
        ids_BT, weights_BT = next(stream)
        assert ids_BT.shape == weights_BT.shape
        assert ids_BT.shape[1] in batches.LENGTHS
        assert ids_BT.numel() <= 2048
