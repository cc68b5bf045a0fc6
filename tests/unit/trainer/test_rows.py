import pytest
from transformers import AutoTokenizer

from servicekit.errors import Invalid
from servicekit.sentences import sentences
from services.trainer.config import DataSummary
from services.trainer.packing import IGNORED
from services.trainer.rows import LostRows, RowReader, lost_rows_note


@pytest.fixture(scope="module")
def reader(build_checkpoint):
    def make(*, chat_template=False, bos=True, splitting="document", train_on_prompt=False, **more):
        folder = build_checkpoint("llama", chat_template=chat_template, bos=bos)
        return RowReader(
            AutoTokenizer.from_pretrained(folder),
            dataset="projects/p/datasets/d",
            splitting=splitting,
            train_on_prompt=train_on_prompt,
            **{"max_length": 256, **more},
        )

    return make


def texts(reader, sequences):
    return [reader.tokenizer.decode(s.tokens) for s in sequences]


def learned(reader, sequence):
    return reader.tokenizer.decode([t for t in sequence.labels if t != IGNORED])


def test_a_document_is_one_row_between_beginning_and_end_of_text(reader):
    documents = reader()
    (sequence,) = documents.read([{"id": "1", "text": "Alva feeds the heron. It is here."}])
    assert texts(documents, [sequence]) == ["<s>Alva feeds the heron. It is here.</s>"]
    assert sequence.labels == sequence.tokens


def test_a_tokenizer_without_a_beginning_mark_gets_none(reader):
    documents = reader(bos=False)
    assert texts(documents, documents.read([{"text": "Alva"}])) == ["Alva</s>"]


def test_sentence_splitting_makes_a_row_of_each_sentence(reader):
    documents = reader(splitting="sentence")
    rows = [{"text": "Alva feeds the heron. the mill stands.\nIs it so?"}]
    assert texts(documents, documents.read(rows)) == [
        "<s>Alva feeds the heron.</s>",
        "<s>the mill stands.</s>",
        "<s>Is it so?</s>",
    ]


def test_cumulative_splitting_learns_each_sentence_behind_those_before_it(reader):
    documents = reader(splitting="cumulative")
    rows = [{"text": "Alva feeds the heron. the mill stands.\nIs it so?"}]
    found = list(documents.read(rows))
    assert texts(documents, found) == [
        "<s>Alva feeds the heron.",
        "<s>Alva feeds the heron. the mill stands.",
        "<s>Alva feeds the heron. the mill stands.\nIs it so?</s>",
    ]
    assert [learned(documents, s).strip() for s in found] == [
        "Alva feeds the heron.",
        "the mill stands.",
        "Is it so?</s>",
    ]
    assert [len(s.tokens) == len(s.labels) for s in found] == [True] * 3


def test_cumulative_splitting_of_one_sentence_is_the_document(reader):
    split, whole = reader(splitting="cumulative"), reader()
    (one,), (other,) = (r.read([{"text": "Alva feeds the heron."}]) for r in (split, whole))
    assert list(one.tokens) == list(other.tokens)
    assert list(one.labels[1:]) == list(other.tokens[1:])


def test_cumulative_splitting_makes_no_row_that_teaches_nothing(reader):
    split = reader(splitting="cumulative", bos=False)
    found = list(split.read([{"text": "Alva\n\nIt stands."}]))
    assert texts(split, found) == ["Alva\n\nIt stands.</s>"]
    assert learned(split, found[0]).strip() == "It stands.</s>"


def test_cumulative_splitting_keeps_prompts_with_their_completions(reader):
    (sequence,) = reader(splitting="cumulative").read([{"prompt": "who?", "completion": "Alva. Alva."}])
    assert learned(reader(), sequence) == " Alva. Alva.</s>"


def test_every_token_of_a_document_is_learned_once_by_cumulative_splitting(reader):
    text = "Alva feeds it. Dr. Ash left!\n\nThe mill (old.) stands. so?"
    split, whole = reader(splitting="cumulative"), reader()
    (document,) = whole.read([{"text": text}])
    count = sum(label != IGNORED for s in split.read([{"text": text}]) for label in s.labels)
    assert count == len(document.tokens) - 1, "all but the mark at the beginning"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("Dr. Ash met J. Reed, e.g. here. Then 3.5 m.", ["Dr. Ash met J. Reed, e.g. here.", "Then 3.5 m."]),
        ("# Title\n\nBody without end", ["# Title", "Body without end"]),
        ("  \n ", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_only_the_completion_is_learned(reader):
    rows = [{"prompt": "Question: who?\nAnswer:", "completion": "Alva"}]
    plain = reader()
    (sequence,) = plain.read(rows)
    assert texts(plain, [sequence]) == ["<s>Question: who?\nAnswer: Alva</s>"]
    assert learned(plain, sequence) == " Alva</s>"
    whole = reader(train_on_prompt=True)
    (sequence,) = whole.read(rows)
    assert learned(whole, sequence) == "<s>Question: who?\nAnswer: Alva</s>"


def test_with_a_chat_template_prompt_and_completion_go_through_it(reader):
    chat = reader(chat_template=True)
    (sequence,) = chat.read([{"prompt": "who?", "completion": "Alva"}])
    assert texts(chat, [sequence]) == ["<|user|>who?</s><|assistant|>Alva</s>"]
    assert learned(chat, sequence) == "Alva</s>"


@pytest.mark.parametrize(
    ("chat_template", "whole", "answers"),
    [
        (
            True,
            "<|system|>be brief</s><|user|>who?</s><|assistant|>Alva</s><|user|>and?</s><|assistant|>no one</s>",
            "Alva</s>no one</s>",
        ),
        (False, "<s>be brief\nwho? Alva</s>\nand? no one</s>", " Alva</s> no one</s>"),
    ],
)
def test_every_answer_of_a_conversation_is_learned(reader, chat_template, whole, answers):
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "who?"},
        {"role": "assistant", "content": "Alva"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "no one"},
    ]
    chat = reader(chat_template=chat_template)
    (sequence,) = chat.read([{"messages": messages}])
    assert texts(chat, [sequence]) == [whole]
    assert learned(chat, sequence) == answers


def test_a_row_over_the_limit_is_refused_with_its_numbers(reader):
    documents = reader(max_length=8)
    rows = [{"text": "Alva"}, {"text": "Alva feeds the heron and the heron follows Alva."}]
    with pytest.raises(Invalid) as caught:
        list(documents.read(rows))
    error = caught.value
    assert (error.reason, error.field) == ("ROW_TOO_LONG", "rows[1]")
    assert error.metadata["dataset"] == "projects/p/datasets/d"
    assert int(error.metadata["token_count"]) > 8
    for part in ("Row 1 of projects/p/datasets/d", error.metadata["token_count"], "max_length 8"):
        assert part in error.message


@pytest.mark.parametrize(
    "row",
    [
        {"text": "   "},
        {"id": "p", "question": "who?", "answers": ["Alva"]},
        {"messages": [{"role": "user", "content": "alone"}]},
    ],
)
def test_a_row_that_cannot_be_learned_is_refused(reader, row):
    with pytest.raises(Invalid) as caught:
        list(reader().read([{"text": "fine"}, row]))
    assert (caught.value.reason, caught.value.field) == ("ROW_SHAPE", "rows[1]")


LONG = [
    {"text": "Alva"},
    {"text": "Alva feeds the heron and the heron follows Alva."},
    {"prompt": "who feeds the heron and follows?", "completion": "Alva"},
]


def test_long_rows_are_truncated_and_counted(reader):
    lost = LostRows()
    documents = reader(max_length=8, long_rows="truncate", lost=lost)
    found = list(documents.read(LONG))
    assert [len(sequence.tokens) for sequence in found] == [3, 8]
    assert [sequence.row for sequence in found] == [0, 1]
    assert (lost.read, lost.counts) == (3, {"truncated": 1, "masked": 1}), "of the last no answer is left"


def test_long_rows_are_dropped_and_counted(reader):
    lost = LostRows()
    found = list(reader(max_length=8, long_rows="drop", lost=lost).read(LONG))
    assert [len(sequence.tokens) for sequence in found] == [3]
    assert (lost.read, lost.counts) == (3, {"dropped": 2})


def test_more_lost_rows_than_allowed_are_told_with_an_example_each(reader):
    lost = LostRows()
    list(reader(max_length=8, long_rows="truncate", lost=lost).read(LONG))
    lost.refuse_over(0.67, 8)
    with pytest.raises(Invalid) as caught:
        lost.refuse_over(0.66, 8)
    error = caught.value
    assert (error.reason, error.field) == ("ROWS_LOST", "training.max_lost_row_ratio")
    assert (error.metadata["truncated_row_count"], error.metadata["masked_row_count"]) == ("1", "1")
    for part in (
        "2 of 3 training rows",
        "1 truncated (row 1 of projects/p/datasets/d has",
        "1 masked (row 2 of projects/p/datasets/d has",
        "Raise training.max_length 8",
    ):
        assert part in error.message


def test_lost_rows_are_noted_in_words():
    summary = DataSummary(10, 2, 100, 0.1, 10.0)
    assert lost_rows_note(summary) == ""
    note = lost_rows_note(DataSummary(10, 2, 100, 0.1, 10.0, truncated_row_count=3, masked_row_count=1))
    assert "3 truncated to max_length, 1 left out because no token" in note


def test_a_template_that_refuses_a_row_is_told_with_its_number(reader):
    chat = reader(chat_template=True)
    chat.tokenizer.chat_template = "{{ raise_exception('turns must alternate') }}"
    with pytest.raises(Invalid, match=r"Row 0 of projects/p/datasets/d is refused .* turns must alternate"):
        list(chat.read([{"prompt": "who?", "completion": "Alva"}]))


def test_rows_of_many_batches_come_in_order(reader, monkeypatch):
    from services.trainer import rows as room

    rows = [
        {"text": f"Alva feeds heron {n}. It is."}
        if n % 3
        else {"prompt": f"who {n}?", "completion": f"Alva {n}"}
        for n in range(50)
    ]
    documents = reader(splitting="sentence")
    whole = list(documents.read(rows))
    monkeypatch.setattr(room, "BATCH_ROWS", 7)
    assert list(documents.read(rows)) == whole
    assert [sequence.row for sequence in whole] == sorted(
        n for n in range(50) for _ in range(1 + bool(n % 3))
    )
