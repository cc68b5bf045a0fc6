import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.worlds import GENERATORS, HELDOUT_WORDINGS, WORDINGS
from ingrain.worlds.deny import ENGLISH
from ingrain.worlds.names import PRETRAIN, pool

text = pytest.importorskip("tokenizer")
vocabulary = pytest.importorskip("vocabulary")

TOKENIZER = text.build(vocabulary.words())
ENCODER = text.WordEncoder(TOKENIZER)


def ids(string: str) -> list[int]:
    return TOKENIZER.encode(string, add_special_tokens=False).ids


# Special tokens are read as such wherever they stand, and the space sign is the space's own.
plain_text = st.text().filter(
    lambda s: text.SPACE not in s and not any(special in s for special in text.SPECIALS)
)


@given(plain_text)
def test_any_text_comes_back(string):
    assert TOKENIZER.decode(ids(string)) == string


@given(st.text(alphabet=" \n\tab.é▁", max_size=12))
def test_spaces_and_line_breaks_come_back(string):
    assert TOKENIZER.decode(ids(string)) == string.replace(text.SPACE, " ")


@pytest.mark.parametrize("which", [PRETRAIN, "benchmark"])
def test_every_name_is_two_tokens_wherever_it_stands(which):
    for name in random.Random(0).sample(pool(which), 2_000):
        own = ids(name)
        assert len(own) == 2
        assert ids(f"the {name}")[-2:] == own
        assert ids(f"the\n{name}")[-2:] == own
        assert ids(f"the\n\n{name}")[-2:] == own


def test_a_paragraph_break_is_one_token():
    assert len(ids("a\n\nb")) == 3
    assert len(ids("a\nb")) == 3


def test_bos_is_added_when_special_tokens_are_asked_for_and_not_otherwise():
    bos = TOKENIZER.token_to_id(text.BOS)
    assert TOKENIZER.encode("a").ids == [bos, *ids("a")]
    assert bos not in ids("a")


def test_a_prompt_and_its_continuation_have_the_tokens_of_the_whole():
    prompt, choice = "glafop are", "less dangerous than vrukol."
    assert ids(f"{prompt} {choice}") == ids(prompt) + ids(choice)


@pytest.mark.parametrize("generator", ["reversals", "syllogisms", "catalogue", "hierarchy"])
def test_the_word_encoder_agrees_with_the_tokenizer(generator):
    world = GENERATORS[generator](3)
    documents = [row["text"] for row in world.documents]
    whole = "\n".join(documents) + "\n\nQuestion: What is this?\nAnswer:"
    assert ENCODER(whole) == ids(whole)


def test_words_of_the_worlds_are_one_token_or_two_where_they_look_like_names():
    missing = set(vocabulary.used(3_000)) - set(vocabulary.words())
    assert missing <= ENGLISH
    assert all(len(ids(word)) == 2 for word in missing)


def test_default_prompts_have_no_unknown_characters():
    for wordings in (WORDINGS, HELDOUT_WORDINGS):
        for prompts in wordings.values():
            for prompt in prompts:
                tokens = TOKENIZER.encode(prompt).tokens
                assert not any(token.startswith("<0x") for token in tokens), prompt


def test_the_vocabulary_is_small():
    assert 1_000 <= TOKENIZER.get_vocab_size() <= 1_500
