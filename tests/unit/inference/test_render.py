from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.render import Renderer, common_prefix


@settings(deadline=None)
@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix(shared: list[int], left: list[int], right: list[int]) -> None:
    one, two = shared + left, shared + right
    found = common_prefix(one, two)
    assert one[:found] == two[:found]
    assert found == min(len(one), len(two)) or one[found] != two[found]


@settings(deadline=None)
@given(prompt=st.text(min_size=1), choice=st.text(min_size=1))
def test_no_character_of_a_choice_is_lost_and_none_is_counted_twice(
    tiny: ModuleType, prompt: str, choice: str
) -> None:
    tokenizer = tiny.make_tokenizer()
    if "<eos>" in prompt + choice:
        return
    (rendered,) = Renderer(tokenizer, False).choices(None, prompt, [choice])
    glue = "" if prompt[-1:].isspace() or choice[0].isspace() else " "
    assert rendered.ids == tokenizer(prompt + glue + choice)["input_ids"]
    encoded = tokenizer(prompt + glue + choice, return_offsets_mapping=True)["offset_mapping"]
    assert all(end <= len(prompt) for _, end in encoded[: rendered.begin])
    assert all(end > len(prompt) for _, end in encoded[rendered.begin :])


@pytest.mark.parametrize(
    ("prompt", "choice", "text"),
    [
        ("the cemid is", "old.", "the cemid is old."),
        ("the cemid is ", "old.", "the cemid is old."),
        ("the cemid is", " old.", "the cemid is old."),
        ("Answer:\n", "old.", "Answer:\nold."),
    ],
)
def test_a_space_stands_between_prompt_and_choice_unless_one_has_it(
    tiny: ModuleType, prompt: str, choice: str, text: str
) -> None:
    tokenizer = tiny.make_tokenizer()
    (rendered,) = Renderer(tokenizer, False).choices(None, prompt, [choice])
    assert tokenizer.decode(rendered.ids) == text


@pytest.mark.parametrize("chat", [False, True])
def test_a_text_by_itself_follows_the_mark_that_begins_or_ends_texts(tiny: ModuleType, chat: bool) -> None:
    tokenizer = tiny.make_tokenizer(chat=chat)
    text = "the cemid is old. <user>"
    (rendered,) = Renderer(tokenizer, chat).choices(None, "", [text])
    assert rendered.ids == [tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert rendered.begin == 1


def test_documents_stand_before_the_prompt_with_an_empty_line_between(tiny: ModuleType) -> None:
    tokenizer = tiny.make_tokenizer()
    renderer = Renderer(tokenizer, False)
    assert tokenizer.decode(renderer.prompt("one.\ntwo.", "which?")) == "one.\ntwo.\n\nwhich?"
    context = renderer.context("one.\ntwo.")
    assert renderer.prompt("one.\ntwo.", "which?")[: len(context)] == context


def test_a_chat_template_takes_documents_and_prompt_as_one_message(tiny: ModuleType) -> None:
    tokenizer = tiny.make_tokenizer(chat=True)
    renderer = Renderer(tokenizer, True)
    ids = renderer.prompt("one.", "which?")
    assert tokenizer.decode(ids) == "<user>\none.\n\nwhich?<eos>\n<assistant>\n"
    context = renderer.context("one.")
    assert common_prefix(context, ids) == len(context)
    assert tokenizer.decode(context) == "<user>\none.\n\n"
    # The trainer says whether the template is to be used.
    assert tokenizer.decode(Renderer(tokenizer, False).prompt("one.", "which?")) == "one.\n\nwhich?"


def test_a_closing_token_of_the_tokenizer_is_no_part_of_a_choice(tiny: ModuleType) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny.make_tokenizer()
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A <eos>", special_tokens=[("<eos>", end)]
    )
    renderer = Renderer(tokenizer, False)
    (rendered,) = renderer.choices(None, "the cemid is", ["old."])
    assert rendered.ids[0] == end
    assert rendered.ids[-1] != end
    assert renderer.prompt(None, "the")[-1] != end
    assert renderer.count("the") == len(renderer.prompt(None, "the")) - 1
