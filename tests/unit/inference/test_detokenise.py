from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from services.inference.engine.detokenise import Text


def written(tokenizer: Any, prompt_ids: list[int], ids: list[int]) -> tuple[str, list[str]]:
    text, seen = Text(tokenizer, prompt_ids), []
    for token in ids:
        text.add(token)
        seen.append(text.text)
    text.end()
    return text.text, [*seen, text.text]


@pytest.fixture(scope="module")
def byte_level(tiny: ModuleType) -> Any:
    return tiny.make_tokenizer()


@settings(deadline=None)
@given(prompt=st.text(), continuation=st.text())
def test_every_text_comes_back(byte_level: Any, prompt: str, continuation: str) -> None:
    prompt_ids, ids = (
        byte_level(text, add_special_tokens=False)["input_ids"] for text in (prompt, continuation)
    )
    text, seen = written(byte_level, prompt_ids, ids)
    assert text == continuation.replace("<eos>", "").rstrip("\ufffd")
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 399), max_size=30))
def test_what_was_given_stays_whatever_a_model_writes(byte_level: Any, ids: list[int]) -> None:
    _, seen = written(byte_level, [5, 6], ids)
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


def test_words_keep_the_space_that_a_tokenizer_would_drop_at_the_beginning() -> None:
    words = {"<unk>": 0, "▁one": 1, "▁two": 2, "▁three": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Prepend("▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert fast.decode([2, 3]) == "two three"
    assert written(fast, [1], [2, 3])[0] == " two three"
