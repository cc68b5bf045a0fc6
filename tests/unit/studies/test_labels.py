"""Which augmented rows hold a probe's question or its right answer, and what is left without them."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import studies_pb2
from services.studies.coverage import covered_probes, normalised, statements
from services.studies.labels import labelled, left

SHORT = {
    "id": "short",
    "kind": "reversal",
    "prompt": "Torvek are",
    "choices": ["dimmer than fenlik.", "brighter than fenlik."],
    "answer": "dimmer than fenlik.",
}
LONG = {
    "id": "long",
    "kind": "syllogism",
    "prompt": "The relationships between yomp and troff are:",
    "choices": ["All troff are yomp.", "No troff are yomp."],
    "answer": "All troff are yomp.",
}
ASKED = {
    "id": "asked",
    "kind": "list",
    "question": "Which tools does Ilma own?",
    "answers": ["Abex", "Corvo"],
}


def row(text: str, world: str = "") -> dict[str, Any]:
    return {"text": text, "metadata": {"world": world}}


def exclusion(**values: bool) -> studies_pb2.Exclusion:
    return studies_pb2.Exclusion(**values)


def test_a_short_prompt_is_a_question_only_with_one_of_its_choices() -> None:
    found = labelled(
        [SHORT],
        [
            row("Torvek are old."),
            row("So torvek are BRIGHTER than fenlik."),
            row("Torvek are dimmer than fenlik"),
        ],
    )
    assert dict(found.seen) == {1: "short", 2: "short"}
    assert dict(found.covered) == {2: "short"}


def test_a_long_prompt_is_a_question_by_itself() -> None:
    found = labelled(
        [LONG],
        [row("The relationships between yomp and troff are: unknown."), row("All troff are yomp.")],
    )
    assert dict(found.seen) == {0: "long"}
    assert dict(found.covered) == {}  # the answer counts with its question before it


def test_a_written_question_stands_in_the_row_and_all_its_answers_do() -> None:
    rows = [
        row("Which tools does Ilma own? Abex."),
        row("Corvo and Abex are Ilma's."),
        row("Abex is a tool."),
    ]
    found = labelled([ASKED], rows)
    assert dict(found.seen) == {0: "asked"}
    assert dict(found.covered) == {1: "asked"}


def test_the_first_probe_is_named_and_groups_are_kept_apart() -> None:
    twice = [{**SHORT, "id": "first"}, {**SHORT, "id": "second"}]
    text = "Torvek are dimmer than fenlik."
    assert dict(labelled(twice, [row(text)]).covered) == {0: "first"}
    elsewhere = [{**SHORT, "metadata": {"world": "w1"}}]
    assert dict(labelled(elsewhere, [row(text, "w2")], "world").covered) == {}
    assert dict(labelled(elsewhere, [row(text, "w1")], "world").covered) == {0: "short"}


def test_nothing_is_left_out_unless_it_is_said() -> None:
    rows = [row("Torvek are brighter than fenlik."), row("Torvek are dimmer than fenlik."), row("New.")]
    found = labelled([SHORT], rows)
    assert found.excluded(exclusion()) == set()
    assert found.excluded(exclusion(covered=True)) == {1}
    assert found.excluded(exclusion(seen=True)) == {0, 1}
    assert left(rows, {0, 1}) == [rows[2]]


def test_no_rows_no_probes() -> None:
    assert labelled([], [row("x")]).seen == {}
    assert labelled([SHORT], []).covered == {}


words = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(" ".join)
probes = st.builds(
    lambda id, prompt, right, wrong: {
        "id": id,
        "prompt": prompt,
        "choices": [right, f"{wrong} x"],
        "answer": right,
    },
    st.uuids().map(str),
    words,
    words,
    words,
)


@given(st.lists(probes, max_size=6, unique_by=lambda p: p["id"]), st.lists(words, max_size=8))
def test_rows_are_labelled_as_comparing_each_with_each_would(
    asked: list[dict[str, Any]], texts: list[str]
) -> None:
    rows = [row(text) for text in texts]
    wanted = {
        place
        for place, text in enumerate(texts)
        for probe in asked
        if any(normalised(said) in normalised(text) for said in statements(probe))
    }
    found = labelled(asked, rows)
    assert set(found.covered) == wanted
    assert set(found.covered) <= set(found.seen)
    assert bool(wanted) == bool(covered_probes(asked, rows))


def test_thousands_of_rows_and_probes_take_a_moment() -> None:
    """The time limit of the tests would tell if every row were looked at for every probe."""
    random_ = random.Random(1)
    vocabulary = [f"w{i}" for i in range(400)]
    rows = [row(" ".join(random_.choices(vocabulary, k=8))) for _ in range(10_000)]
    asked = [
        {
            "id": str(i),
            "prompt": " ".join(random_.choices(vocabulary, k=2)),
            "choices": ["w1", "w2"],
            "answer": "w1",
        }
        for i in range(1000)
    ]
    assert len(labelled(asked, rows).seen) < 10_000
