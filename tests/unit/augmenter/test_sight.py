"""Which documents are read where not all are, and how that changes with one of a thousand."""

from typing import Any

import pytest

from ingrain import worlds
from ingrain.v1 import augmenter_pb2
from services.augmenter.documents import documents_of
from services.augmenter.planning import plan
from services.augmenter.sight import Room
from services.augmenter.spec import resolve
from services.augmenter.strategies import Ask

ROWS = [
    {"id": "1", "text": "the bralo is bigger than the cemid.", "metadata": {}},
    {"id": "2", "text": "nobody lives on islands.", "metadata": {}},
    {"id": "3", "text": "the dovun is older than the bralo.", "metadata": {}},
    {"id": "4", "text": "the cemid eats at night.", "metadata": {}},
]
WORLD = worlds.suite(seed=5, reversal_worlds=30, facts=14, repeats=2, syllogism_worlds=20, syllogism_count=20)
THOUSAND = [dict(document) for document in WORLD.documents[:1000]]


def asks(rows: list[dict[str, Any]], room: Room | None = None, **given: Any) -> list[Ask]:
    spec = resolve(augmenter_pb2.AugmentationSpec(**{"samples_per_document": 1, **given}))
    return [item.ask for item in plan(spec, documents_of(rows, spec), room)]


def room_of(rows: list[dict[str, Any]], tokens: int) -> Room:
    return Room(tokens, {row["id"]: len(row["text"].split()) for row in rows})


def test_the_likest_documents_are_read_before_the_prompt_in_their_order() -> None:
    found = asks(ROWS, strategies=["link"], context_document_count=2)
    assert [[document.id for document in ask.read] for ask in found] == [
        ["1", "3"],
        ["2"],
        ["1", "3"],
        ["1", "4"],
    ]
    first = found[0]
    assert first.prompt == (
        f"{ROWS[0]['text']}\n{ROWS[2]['text']}\n\nConnect this with the rest: {ROWS[0]['text']}\nInferences:"
    )
    assert (first.context_group, first.sees_several) == (None, True)
    assert [document.id for document in first.documents] == ["1"]


def test_where_as_many_are_wanted_as_there_are_all_are_read_as_ever() -> None:
    assert asks(ROWS, strategies=["link"], context_document_count=4) == asks(ROWS, strategies=["link"])


def test_the_sources_of_a_subject_are_read_first_and_are_sources_as_far_as_they_are() -> None:
    by_prompt = {
        ask.prompt.rsplit("\n\n", 1)[1]: ask
        for ask in asks(ROWS, strategies=["about"], context_document_count=2)
    }
    both = by_prompt["What is known about bralo:"]
    assert [document.id for document in both.documents] == ["1", "3"]
    alone = by_prompt["What is known about islands:"]
    assert [document.id for document in (*alone.documents, *alone.read)] == ["2", "2"]
    one = asks(ROWS, strategies=["about"], context_document_count=1)[0]
    assert len(one.documents) == len(one.read) == 1


def test_groups_are_searched_apart() -> None:
    rows = [{**row, "metadata": {"g": "odd" if int(row["id"]) % 2 else "even"}} for row in ROWS]
    found = asks(rows, strategies=["link"], context_document_count=1, group_key="g")
    assert [[document.id for document in ask.read] for ask in found] == [["1"], ["2"], ["3"], ["4"]]


@pytest.mark.parametrize(
    ("tokens", "read"),
    [(74, None), (73, ["1", "3", "4"]), (69, ["1", "3", "4"]), (68, ["1", "3"]), (62, ["1"]), (20, ["1"])],
)
def test_what_does_not_fit_the_window_is_left_out(tokens: int, read: list[str] | None) -> None:
    """The first prompt takes 47: seven words, and a token for each byte of what stands round them. All documents take 27, a
    break each included; the first, third and fourth 22; the first and third 16."""
    first = asks(ROWS, room_of(ROWS, tokens), strategies=["link"])[0]
    assert (None if first.context_group is not None else [d.id for d in first.read]) == read


def changed_asks(rows: list[dict[str, Any]], place: int, text: str, **given: Any) -> tuple[int, int, int]:
    """After the document at a place changed: prompts in all, those that changed, and how many of these neither read it
    before nor do now."""
    before = asks(rows, **given)
    after = asks([{**row, "text": text} if i == place else row for i, row in enumerate(rows)], **given)
    reading = {document.id for document in before[0].read}
    assert reading
    changed_id = rows[place]["id"]
    prompts = {ask.prompt for ask in before}
    old = {ask.documents[0].id: ask for ask in before}
    new = [ask for ask in after if ask.prompt not in prompts]
    beside = [
        ask
        for ask in new
        if changed_id not in {document.id for document in (*ask.read, *old[ask.documents[0].id].read)}
    ]
    return len(after), len(new), len(beside)


@pytest.mark.parametrize("place", [0, 137, 500, 731, 999])
def test_after_a_word_of_one_document_of_a_thousand_changed_only_what_reads_it_is_asked_anew(
    place: int,
) -> None:
    text = THOUSAND[place]["text"].replace("are", "are truly", 1)
    assert text != THOUSAND[place]["text"]
    in_all, changed, beside = changed_asks(
        THOUSAND, place, text, strategies=["link"], context_document_count=10, temperature=0.0
    )
    assert in_all == 1000
    assert 1 <= changed <= 40
    assert beside == 0


@pytest.mark.parametrize("place", [0, 137, 500, 731, 999])
def test_a_document_of_other_words_moves_few_choices_beside_those_that_read_it(place: int) -> None:
    """How rare a word is depends on all documents, so a few neighbours that share a word with it choose otherwise."""
    in_all, changed, beside = changed_asks(
        THOUSAND,
        place,
        "Whoever sails north sees the lighthouse first.",
        strategies=["link"],
        context_document_count=10,
        temperature=0.0,
    )
    assert in_all == 1000
    assert 1 <= changed <= 60
    assert beside <= 5


def test_pairs_of_other_documents_stay() -> None:
    changed = [{**row, "text": "Whoever sails north."} if i == 500 else row for i, row in enumerate(THOUSAND)]
    prompts = {ask.prompt for ask in asks(THOUSAND, strategies=["entity_pairs"])}
    after = asks(changed, strategies=["entity_pairs"])
    assert len(after) > 5000
    assert sum(ask.prompt not in prompts for ask in after) <= 25
