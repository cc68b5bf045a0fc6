"""What each strategy asks, and what is made without a model."""

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingrain.v1 import augmenter_pb2
from services.augmenter.documents import documents_of
from services.augmenter.planning import Planned, batches, follow_ups, plan
from services.augmenter.spec import Spec, resolve
from services.augmenter.strategies import Document
from services.augmenter.strategies.active_reading import MOST_CHARACTERS, MOST_WAYS
from services.augmenter.strategies.entity_pairs import MOST_IN_SIGHT, MOST_PAIRS
from services.augmenter.strategies.masked import MASK, masked
from services.augmenter.strategies.names import CAPITALS, SUBJECT, WORD, names, pieces
from services.augmenter.strategies.reverse_words import reverse_words

ENGLISH = [
    "Mary Lee Pfeiffer met Tom Cruise in New York. On 3 July she left for Paris.",
    "Nobody in New York knew that Tom Cruise had left.",
    "The ship reached Paris in spring.",
]


def rows_of(texts: list[str]) -> list[dict[str, Any]]:
    return [{"id": f"d{place}", "text": text, "metadata": {}} for place, text in enumerate(texts)]


def planned(texts: list[str], *strategies: str, **given: Any) -> tuple[Spec, list[Planned]]:
    given = {"samples_per_document": 1, **given}
    spec = resolve(augmenter_pb2.AugmentationSpec(strategies=strategies, **given))
    return spec, plan(spec, documents_of(rows_of(texts), spec))


def document(text: str, *subjects: str) -> Document:
    return Document("d", text, "", subjects, {})


def test_names_are_runs_of_capitalised_words_and_else_subjects() -> None:
    found = pieces("Yesterday Tom Cruise saw the bralo. He left on July 3, alone.", {"bralo"})
    assert [(text, kind) for text, kind in found if kind != WORD] == [
        ("Tom Cruise", CAPITALS),
        ("bralo", SUBJECT),
        ("July 3", CAPITALS),
    ]
    assert names([document("we saw the bralo.", "bralo"), document("ask Tom about it.", "about")]) == [
        [],
        ["Tom"],
    ]
    assert names([document("Bralo are old.", "Bralo"), document("the cemid is.", "cemid")]) == [
        ["Bralo"],
        ["cemid"],
    ]


def test_words_are_reversed_and_names_are_not() -> None:
    text = "Cruise was born on July 3, 1962, in New York, to Mary Lee Pfeiffer."
    assert reverse_words(text, ["Cruise"]) == (
        ". Mary Lee Pfeiffer to , New York in , 1962 , July 3 on born was Cruise"
    )


@given(st.text())
@example("By A 0")
def test_reversing_loses_no_letter(text: str) -> None:
    kept = [piece for piece, _ in pieces(text, ())]
    letters = (c for piece in kept for c in piece if c != " ")  # between the words of a name
    assert Counter(letters) == Counter(c for c in text if not c.isspace())
    assert reverse_words(text, ()) == " ".join(reversed(kept))


def test_every_name_is_itself_once_in_a_group() -> None:
    _, found = planned(ENGLISH, "identity_bridge", samples_per_document=3)
    assert [(item.text, [source.id for source in item.ask.documents]) for item in found] == [
        ("The name of Mary Lee Pfeiffer is Mary Lee Pfeiffer.", ["d0"]),
        ("The name of Tom Cruise is Tom Cruise.", ["d0", "d1"]),
        ("The name of New York is New York.", ["d0", "d1"]),
        ("The name of July is July.", ["d0"]),
        ("The name of Paris is Paris.", ["d0", "d2"]),
    ]
    assert {item.sample for item in found} == {0}


@given(st.text(), st.integers())
def test_a_masked_text_hides_something_and_not_all(text: str, seed: int) -> None:
    hidden = masked(text, random.Random(seed))
    words = text.split()
    if len(words) < 2:
        assert hidden == ""
        return
    shown = hidden.split()
    assert MASK in shown
    assert not any(one == other == MASK for one, other in pairwise(shown))
    left = [word for word in shown if word != MASK]
    remaining = iter(words)
    assert left
    assert all(word in remaining for word in left)  # in their order
    assert len(left) < len(words)


def test_masks_differ_by_sample_and_by_nothing_else() -> None:
    _, found = planned(ENGLISH, "masked", samples_per_document=4, seed=2)
    assert len({item.text for item in found}) == len(found) == 12
    for item in found:
        hidden, whole = (item.text or "").split("\n\n")
        assert whole == item.ask.documents[0].text
        assert MASK in hidden
    _, fewer = planned(ENGLISH[:1], "masked", samples_per_document=4, seed=2)
    assert {item.text for item in fewer} < {item.text for item in found}
    _, others = planned(ENGLISH, "masked", samples_per_document=4, seed=3)
    assert not {item.text for item in others} & {item.text for item in found}


def test_a_summary_is_asked_for_at_each_level() -> None:
    _, found = planned(ENGLISH, "summarize")
    ends = Counter(item.ask.prompt.split("\n\n", 1)[1] for item in found)
    assert len(ends) == 3
    assert set(ends.values()) == {len(ENGLISH)}
    assert not any(item.ask.sees_several for item in found)


def test_pairs_are_asked_about_once_with_what_has_both_names() -> None:
    _, found = planned(ENGLISH, "entity_pairs")
    by_pair = {item.ask.prompt.split("How are ")[1].split(" related")[0]: item.ask for item in found}
    assert len(by_pair) == len(found)
    both = by_pair["New York and Tom Cruise"]
    assert [source.id for source in both.documents] == ["d0", "d1"]
    assert both.prompt.startswith("\n".join(ENGLISH[:2]) + "\n\n")
    assert (both.read, both.context_group) == (both.documents, None)
    assert both.sees_several
    assert not by_pair["New York and Paris"].sees_several
    assert "July and Tom Cruise" in by_pair


def test_pairs_are_bounded_and_drawn_by_the_seed() -> None:
    many = ["we saw " + ", ".join(f"Name{chr(97 + i)}" for i in range(20)) + "."]
    prompts = {
        seed: {item.ask.prompt for item in planned(many, "entity_pairs", seed=seed)[1]} for seed in (1, 2)
    }
    assert len(prompts[1]) == len(prompts[2]) == MOST_PAIRS
    assert prompts[1] != prompts[2]
    # What stands beside a document does not change which of its pairs are drawn.
    _, beside = planned([*many, "we saw Nobody and Somebody."], "entity_pairs", seed=1)
    assert prompts[1] < {item.ask.prompt for item in beside}
    often = [f"number {i}: we saw Ann and Bob." for i in range(50)]
    _, found = planned(often, "entity_pairs")
    assert [len(item.ask.read) for item in found] == [MOST_IN_SIGHT]


def test_ways_to_study_are_carried_out_each() -> None:
    spec, found = planned(ENGLISH, "active_reading", samples_per_document=2)
    assert all(item.ask.opens for item in found)
    ways = [f"{i}. Way number {i}." for i in range(1, 9)]
    outputs = ["\n".join(ways), "", "- Draw a map.\n- Draw a map.\n---\n" + "x" * (MOST_CHARACTERS + 1)]
    outputs += [""] * (len(found) - len(outputs))
    following = follow_ups(spec, found, outputs, first=100)
    assert [item.number for item in following] == list(range(100, 100 + MOST_WAYS + 1))
    assert [item.ask.documents for item in following] == [found[0].ask.documents] * MOST_WAYS + [
        found[2].ask.documents
    ]
    assert [item.sample for item in following] == [found[0].sample] * MOST_WAYS + [found[2].sample]
    first = following[0].ask
    assert first.prompt.startswith(f"{ENGLISH[0]}\n\nWay number 1.\n")
    assert not first.opens
    assert follow_ups(spec, following, [""] * len(following), first=0) == []


@given(st.text())
def test_whatever_names_ways_to_study_is_bounded(output: str) -> None:
    spec, found = planned(ENGLISH[:1], "active_reading")
    assert len(follow_ups(spec, found, [output], first=1)) <= MOST_WAYS


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_rows_without_a_model_stand_among_the_others_and_are_not_asked(temperature: float) -> None:
    _, found = planned(
        ENGLISH, "masked", "rephrase", "reverse_words", samples_per_document=2, temperature=temperature
    )
    assert list(dict.fromkeys(item.strategy for item in found)) == ["masked", "rephrase", "reverse_words"]
    assert [item.number for item in found] == list(range(len(found)))
    assert {item.strategy for item in found if item.text is None} == {"rephrase"}
    samples = Counter((item.strategy, item.sample) for item in found)
    assert samples["masked", 1] == 3
    assert samples["reverse_words", 1] == 0


def test_what_must_keep_to_a_schema_is_called_apart() -> None:
    own = augmenter_pb2.PromptTemplate(
        strategy="own", text="{document}", structured=True, sees=augmenter_pb2.PromptTemplate.ONE_DOCUMENT
    )
    _, found = planned(ENGLISH, "rephrase", "own", prompts=[own])
    assert [len(batch) for batch in batches(found, 100)] == [3, 3]
