"""Beginnings that are tokenised once give the tokens of the whole, whatever the tokenizer."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from services.inference.engine.heads import LEFT, Heads, cut_of
from services.inference.engine.render import Renderer

BUNDLED = Path(__file__).parents[3] / "models" / "small"
WORDS = [
    *(
        "the",
        "bralo",
        "is",
        "bigger",
        "than",
        "cemid",
        ".",
        "a",
        "dovun",
        "was",
        "seen",
        "near",
        "old",
        "bridge",
    ),
    *(",", "12", "\u00e9", "\u00fc", "\u6f22\u5b57", "\U0001f642"),
]


def marking_words() -> Any:
    """As sentencepiece's were: a mark before every word and the first."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>", "<s>"], initial_alphabet=list("abcdefghijklmnopqrstuvwxyz\n")
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")


def closing() -> Any:
    """Lower-cases, splits at space and signs, and closes every text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]", "[SEP]"])
    tokenizer.train_from_iterator([" ".join(WORDS)] * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]"
    )


@pytest.fixture(scope="session")
def tokenizers(tiny: ModuleType) -> dict[str, Any]:
    return {
        "bytes": tiny.make_tokenizer(),
        "chat": tiny.make_tokenizer(chat=True),
        "bundled": AutoTokenizer.from_pretrained(BUNDLED),
        "marks": marking_words(),
        "closing": closing(),
    }


class Never(Heads):
    """Tokenises every whole at once."""

    def _head(self, *_: Any) -> list[int]:
        return []


line = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=6, max_size=30).map(" ".join), st.text(max_size=20)
)
documents = st.lists(line, min_size=2, max_size=8).map("\n".join).filter(bool)
question = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join), st.text(min_size=1, max_size=40)
)


@pytest.mark.parametrize("name", ["bytes", "chat", "bundled", "marks", "closing"])
@settings(deadline=None, max_examples=60)
@given(documents=documents, prompts=st.lists(question, min_size=1, max_size=4), choice=question)
@example(documents="the bralo is old.\n" * 9 + "a dovun", prompts=["is", "\nis", "."], choice="old.")
def test_it_is_tokenised_as_one_text(
    tokenizers: dict[str, Any], name: str, documents: str, prompts: list[str], choice: str
) -> None:
    tokenizer = tokenizers[name]
    shared = Renderer(tokenizer, name == "chat", Heads())
    whole = Renderer(tokenizer, name == "chat", Never())
    for prompt in prompts:
        assert shared.prompt(documents, prompt) == whole.prompt(documents, prompt)
        assert shared.choices(documents, prompt, [choice, "a"]) == whole.choices(
            documents, prompt, [choice, "a"]
        )


class Counting:
    """A tokenizer that counts the characters that it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: Any, **options: Any) -> Any:
        self.characters += sum(map(len, [texts] if isinstance(texts, str) else texts))
        return self._tokenizer(texts, **options)


@pytest.mark.parametrize("name", ["bytes", "chat", "bundled", "closing"])
def test_a_context_is_tokenised_once_for_all_questions(tokenizers: dict[str, Any], name: str) -> None:
    counting = Counting(tokenizers[name])
    renderer = Renderer(counting, name == "chat", Heads())
    documents = "\n".join(f"the bralo is bigger than the cemid {n}." for n in range(100))
    for number in range(20):
        renderer.choices(documents, f"what is {number}?", ["old.", "bigger."])
    assert counting.characters < len(documents) + 20 * 2 * 3 * LEFT


def test_a_context_is_cut_where_a_line_begins_with_a_letter() -> None:
    first, last = "one line. " * 10, "another line. " * 10
    documents = f"{first}\n{last}"
    assert cut_of(documents, documents) == 0, "space before the line"
    plain = f"{first.strip()}\n{last}"
    assert cut_of(plain, f"<user>{plain}\n\nwhich?") == len("<user>") + len(first.strip()) + 1
    assert cut_of(f"{first.strip()}\n- {last}", f"{first.strip()}\n- {last}") == 0, "no letter"
    assert cut_of(f"{first.strip()}\nshort", f"{first.strip()}\nshort") == 0, "too near to the question"
    assert cut_of(documents, "something else") == 0
    assert cut_of(last, last) == 0
