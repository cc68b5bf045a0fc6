"""How much is derived: rounds, the target, what lies beyond it, copies of documents; and what a derivation says of itself."""

from typing import Any

import pytest

from ingrain.v1 import augmenter_pb2
from services.augmenter.counting import MOST_TEXTS, runs
from services.augmenter.derivation import Derivation
from services.augmenter.documents import documents_of
from services.augmenter.dose import Dose, originals, rounds, taking_order
from services.augmenter.gates import Sieve
from services.augmenter.notes import notes_of
from services.augmenter.planning import MESSAGE_BYTES, Planned, plan
from services.augmenter.spec import Spec, resolve

ROWS = [
    {"id": "1", "text": "Brevo are older than ilma.", "metadata": {"source": "a.txt", "start": 5, "end": 31}},
    {"id": "2", "text": "Ilma are bigger than zumbo."},
]


def derivation(**given: Any) -> tuple[Derivation, list[Planned]]:
    spec: Spec = resolve(augmenter_pb2.AugmentationSpec(**given))
    documents = documents_of(ROWS, spec)
    made = Derivation(spec, "m", "sha", Sieve.over(documents, spec), Dose(spec.target_tokens))
    return made, plan(spec, documents)


def written(made: Derivation, items: list[Planned], tokens: int = 10) -> None:
    """Each prompt gets an answer of its own."""
    for statement in made.sifted(items, [f"Said {item.number}." for item in items]):
        made.keep(statement, tokens, {})


def test_without_a_target_all_is_asked_at_once_in_order() -> None:
    _, planned = derivation(samples_per_document=3)
    assert list(rounds(planned, 0)) == [planned]
    assert taking_order(5, 0, seed=1, round_number=0) == [0, 1, 2, 3, 4]


def test_a_round_is_one_sample_of_each_prompt() -> None:
    _, planned = derivation(samples_per_document=3, strategies=["rephrase", "about"])
    found = list(rounds(planned, 100))
    assert [{item.sample for item in items} for items in found] == [{0}, {1}, {2}]
    assert sorted(item.number for items in found for item in items) == [item.number for item in planned]
    assert all(len({item.ask.prompt for item in items}) == len(items) for items in found)


def test_rows_are_kept_until_the_target_is_reached() -> None:
    dose = Dose(25)
    assert [dose.take(10) for _ in range(5)] == [True, True, True, False, False]
    assert (dose.full, dose.held_tokens) == (True, 30)
    endless = Dose(0)
    assert all(endless.take(1000) for _ in range(5))
    assert not endless.full


def test_what_lies_beyond_the_target_is_counted() -> None:
    made, planned = derivation(samples_per_document=4, strategies=["rephrase", "reverse"], target_tokens=55)
    for items in rounds(planned, 55):
        written(made, items)
        if made.dose.full:
            break
    assert len(made.rows) == 6
    assert dict(made.dropped) == {"beyond_target": 2}  # of two rounds of four
    assert len(made.examples["beyond_target"]) == 2
    assert {row["provenance"]["sample"] for row in made.rows} == {0, 1}


def test_the_target_cuts_by_lot_and_always_the_same() -> None:
    """No strategy is left out for standing last."""
    order = taking_order(1000, 10, seed=3, round_number=1)
    assert sorted(order) == list(range(1000))
    assert order == taking_order(1000, 10, seed=3, round_number=1)
    assert order != taking_order(1000, 10, seed=3, round_number=2)
    assert 400 < sum(place < 500 for place in order[:100]) * 10 < 600


def test_rows_say_where_they_come_from() -> None:
    made, planned = derivation(strategies=["rephrase"], samples_per_document=1, max_tokens=40, seed=7)
    left = made.sifted(planned, ["New.", ""])
    made.keep(left[0], 5, {"judge": "supported"})
    (row,) = made.rows
    assert row["provenance"]["source_rows"] == ["1"]
    assert row["provenance"]["spans"] == [{"row": "1", "source": "a.txt", "start": 5, "end": 31}]
    assert row["provenance"]["verdicts"] == {"judge": "supported"}
    assert (row["provenance"]["max_tokens"], row["provenance"]["seed"]) == (40, 7)
    assert dict(made.dropped) == {"empty": 1}


def test_examples_are_few_and_short() -> None:
    made, planned = derivation(strategies=["rephrase"], samples_per_document=4)
    made.sifted(planned, ["x" * 3000 + "."] * len(planned))
    assert made.dropped["too_long"] == 8
    assert [len(text) for text in made.examples["too_long"]] == [500] * 3


def test_a_statement_under_several_strategies_is_kept_once() -> None:
    made, planned = derivation(strategies=["rephrase", "reverse"], samples_per_document=1)
    left = made.sifted(planned, ["Same."] * 4)
    assert [statement.item.strategy for statement in left] == ["rephrase"]
    assert dict(made.dropped) == {"duplicate": 3}


async def test_copies_of_documents_are_rows_of_their_own() -> None:
    async def lines() -> Any:
        for row in ROWS:
            yield row

    found = [row async for row in originals(lines(), 2)]
    assert [row["id"] for row in found] == ["original-1-0", "original-1-1", "original-2-0", "original-2-1"]
    assert found[0]["metadata"] == {**ROWS[0]["metadata"], "strategy": "original"}
    assert found[2]["provenance"] == {"source_rows": ["2"], "strategy": "original", "copy": 0}
    assert [row["text"] for row in found[::2]] == [row["text"] for row in ROWS]


def test_notes_say_what_a_reader_should_know() -> None:
    made, planned = derivation(strategies=["rephrase", "reverse"], samples_per_document=1, target_tokens=500)
    (items,) = rounds(planned, 500)
    for statement in made.sifted(items, ["New.", "Other.", "", ""]):
        made.keep(statement, 20, {})
    notes = notes_of(made, planned, 3, 1, 4096)
    assert "2 prompts of `reverse` gave nothing that was kept." in notes
    assert any("3 statements by rule" in note for note in notes)
    assert any("could not be read for 1 statements" in note for note in notes)
    assert any("hold 40 of the 500 tokens" in note for note in notes)
    quiet, planned = derivation(strategies=["rephrase"], samples_per_document=1)
    written(quiet, planned)
    assert notes_of(quiet, planned, 0, 0, 4096) == []


def test_notes_say_where_the_window_was_too_small() -> None:
    made, _ = derivation(strategies=["link"], samples_per_document=1, context_document_count=1)
    planned = plan(made.spec, documents_of(ROWS, made.spec))
    assert all(len(item.ask.read) == 1 for item in planned)
    written(made, planned)
    assert notes_of(made, planned, 0, 0, 64) == []  # that few were wanted
    wide, _ = derivation(strategies=["link"], samples_per_document=1)
    written(wide, planned)
    assert notes_of(wide, planned, 0, 0, 64) == [
        "2 prompts read 1 documents of their group, those most like the one in focus: all of them do not fit the model's "
        "window of 64 tokens."
    ]


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [([], []), ([1], [(0, 1)]), ([MESSAGE_BYTES, 1, 1], [(0, 1), (1, 3)]), ([2 * MESSAGE_BYTES], [(0, 1)])],
)
def test_texts_are_counted_by_messages(sizes: list[int], wanted: list[tuple[int, int]]) -> None:
    assert runs(sizes) == wanted
    assert runs([1] * (MOST_TEXTS + 1)) == [(0, MOST_TEXTS), (MOST_TEXTS, MOST_TEXTS + 1)]
