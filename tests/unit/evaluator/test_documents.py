"""What is in a context, known from the rows; texts cut and counted, with numbers."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import common_pb2, evaluator_pb2
from services.evaluator.documents import Documents, context_of, read_documents
from services.evaluator.metrics import text_likelihood
from services.evaluator.probes import probe_of, text_of, written
from services.evaluator.statistics import ratio_with_interval
from services.evaluator.texts import in_half, in_messages, word_count

DATASET = "projects/p/datasets/d"


class Client:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.datasets = self
        self._rows = rows

    async def rows(self, name: str) -> Any:
        assert name == DATASET
        for row in self._rows:
            yield row


def document(id: str, group: str, fact: str, text: str) -> dict[str, Any]:
    return {"id": id, "text": text, "metadata": {"world": group, "fact": fact}}


ROWS = [
    document("a1", "a", "1", "one"),
    document("a1b", "a", "1", "one again"),
    document("a2", "a", "2", "two"),
    document("b1", "b", "1", "three"),
]


async def read(rows: list[dict[str, Any]], **wanted: Any) -> Documents:
    return await read_documents(Client(rows), evaluator_pb2.SubjectContext(dataset=DATASET, **wanted))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metadata", "key", "cluster"),
    [
        ({"world": "w", "sources": ["a1", "a2"]}, "world", "w"),
        ({"world": "w", "sources": ["a1", "a2"]}, "", "a1"),
        ({"sources": ["a1"]}, "world", "p"),
        ({"sources": []}, "", "p"),
        ({"sources": "a1"}, "", "p"),
        ({}, "", "p"),
    ],
)
def test_probes_about_one_document_stand_or_fall_together(
    metadata: dict[str, Any], key: str, cluster: str
) -> None:
    probe = probe_of({"id": "p", "kind": "k", "question": "?", "answers": ["x"], "metadata": metadata})
    assert probe.cluster(key) == cluster


async def test_a_groups_digest_is_that_of_the_texts_that_are_read() -> None:
    whole = await read(ROWS, group_key="world", distinct_key="fact")
    assert set(whole.groups) == {"a", "b"}
    other_wording = [*ROWS[:1], {**ROWS[1], "text": "once more"}, *ROWS[2:]]
    assert await read(other_wording, group_key="world", distinct_key="fact") == whole
    other_text = await read([*ROWS[:3], {**ROWS[3], "text": "four"}], group_key="world", distinct_key="fact")
    assert whole.groups["a"] == other_text.groups["a"]
    assert whole.groups["b"].sha256 != other_text.groups["b"].sha256
    turned = await read(ROWS[::-1])
    assert turned.groups[""].sha256 != (await read(ROWS)).groups[""].sha256


async def test_a_document_supports_by_any_wording_of_what_it_tells() -> None:
    found = await read(ROWS, group_key="world", distinct_key="fact")
    assert found.support("a", ["a1", "a2"])
    assert found.support("a", ["a1b"])
    assert not found.support("b", ["a1b"])  # the same fact's number, in another group
    assert not found.support("a", ["none"])
    assert not found.support("c", ["a1"])
    half = common_pb2.Subset(share=0.5, seed=1)
    partly = await read(ROWS, group_key="world", distinct_key="fact", subset=half)
    assert [partly.support("a", [id]) for id in ("a1", "a2")].count(True) == 1
    assert partly.support("b", ["b1"])  # rounded up


def test_the_context_is_asked_for_with_all_that_the_subject_names() -> None:
    subject = evaluator_pb2.Subject(
        model="projects/p/models/m",
        context=evaluator_pb2.SubjectContext(
            dataset=DATASET,
            group_key="world",
            distinct_key="fact",
            subset=common_pb2.Subset(share=0.25, seed=7),
            retrieval=common_pb2.Retrieval(unit=common_pb2.Retrieval.PASSAGE, top_k=3),
        ),
    )
    context = context_of(subject, "a")
    assert (context.model, context.dataset) == (subject.model, DATASET)
    assert (context.selection.key, context.selection.value, context.selection.distinct_key) == (
        "world",
        "a",
        "fact",
    )
    assert context.selection.subset == subject.context.subset
    assert context.retrieval == subject.context.retrieval
    plain = context_of(evaluator_pb2.Subject(context=evaluator_pb2.SubjectContext(dataset=DATASET)), "")
    assert not plain.HasField("retrieval")
    assert not plain.selection.HasField("subset")


@given(st.text(min_size=1, max_size=60))
def test_halves_are_the_text_and_each_says_something(text: str) -> None:
    halves = in_half(text)
    if halves is None:
        assert len(text.split()) < 2
        return
    left, right = halves
    assert left + right == text
    assert left.strip()
    assert right.strip()
    assert right[0].isspace()


def test_a_text_is_cut_nearest_its_middle() -> None:
    assert in_half("aa bb cc dd") == ("aa bb", " cc dd")
    assert in_half("a  bbbbbbb") == ("a", "  bbbbbbb")
    assert in_half("unbroken") is None
    assert [len(run) for run in in_messages(["x" * (1 << 20)] * 7)] == [3, 3, 1]
    assert word_count("two words") == 2


def test_likelihoods_of_texts_have_the_harness_formulas() -> None:
    found = text_likelihood(-20.0, 10, 4)
    assert found == pytest.approx(
        {"bits_per_byte": 2 / math.log(2), "byte_perplexity": math.exp(2), "word_perplexity": math.exp(5)}
    )
    assert "word_perplexity" not in text_likelihood(-2000.0, 1000, 1)


def test_texts_are_averaged_by_their_length_and_drawn_by_cluster() -> None:
    found = ratio_with_interval([10, 90], [10, 30], ["a", "b"])
    assert found.value == 100 / 40
    assert (found.low, found.high) == (1.0, 3.0)  # both drawn alike, one time in four each
    assert found.stderr == pytest.approx(
        math.sqrt((1.5**2 + 0.5**2) / 4 + ((10 / 4 - 5 / 2) ** 2) / 2), rel=0.1
    )
    alone = ratio_with_interval([10, 90], [10, 30], ["a", "a"])
    assert (alone.low, alone.high, alone.stderr) == (2.5, 2.5, 0.0)


def test_a_choice_asked_in_writing_keeps_its_prompt_and_all_right_answers() -> None:
    row = {"id": "1", "kind": "k", "prompt": "p", "choices": ["a", "b", "c"], "answer": ["c", "a"]}
    probe = written(probe_of(row))
    assert (probe.prompt, probe.answers, probe.is_written, probe.question) == ("p", ("a", "c"), True, "p")
    text = text_of({"id": "1", "text": "t", "metadata": {"kind": "news"}})
    assert (text.kind, text.is_text, text.is_written, text.text) == ("news", True, False, "t")
    assert written(text) == text
    assert text_of({"id": "1", "text": "t"}).kind == "text"
