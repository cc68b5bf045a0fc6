"""The pure parts: subjects, the shuffled control, prompts, parsing, filters, batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain import worlds
from ingrain.v1 import augmenter_pb2
from servicekit.errors import Invalid
from services.augmenter.derivation import Derivation
from services.augmenter.documents import documents_of
from services.augmenter.dose import Dose
from services.augmenter.entities import shuffled, subjects, words
from services.augmenter.gates import Sieve, normalized
from services.augmenter.planning import batches, most_outputs, plan, sample_prompts
from services.augmenter.spec import resolve
from services.augmenter.strategies.base import lines

WORLD = worlds.suite(seed=4, reversal_worlds=8, facts=8, repeats=2, syllogism_worlds=2, syllogism_count=4)
TEXTS = [document["text"] for document in WORLD.documents]
GROUPS = [document["metadata"]["world"] for document in WORLD.documents]


def test_subjects_are_the_names_of_a_world() -> None:
    found = subjects(TEXTS, GROUPS)
    reversal = [
        (text, names) for text, group, names in zip(TEXTS, GROUPS, found, strict=True) if "reversals" in group
    ]
    # Each comparison names two; words of the language occur in other worlds too.
    both = [names for text, names in reversal if len(names) == 2]
    assert len(both) > 0.6 * len(reversal)
    assert all(set(names) <= set(words(text)) for text, names in reversal)


def test_shuffled_documents_keep_their_form_and_lose_their_facts() -> None:
    changed = shuffled(TEXTS, GROUPS, seed=1)
    assert changed == shuffled(TEXTS, GROUPS, seed=1)
    assert changed != shuffled(TEXTS, GROUPS, seed=2)
    for text, other, names in zip(TEXTS, changed, subjects(TEXTS, GROUPS), strict=True):
        assert len(words(text)) == len(words(other))
        for word, replaced in zip(words(text), words(other), strict=True):
            assert (word == replaced) is (word not in names)


def test_a_plan_asks_each_document_and_each_subject_once_per_sample() -> None:
    rows = [
        {"id": "1", "text": "the bralo is bigger than the cemid.", "metadata": {"g": "a", "fact": 1}},
        {
            "id": "2",
            "text": "we heard that the bralo is bigger than the cemid.",
            "metadata": {"g": "a", "fact": 1},
        },
        {"id": "3", "text": "the dovun is older than the bralo.", "metadata": {"g": "a", "fact": 2}},
    ]
    given_spec = augmenter_pb2.AugmentationSpec(
        strategies=["reverse", "about"], samples_per_document=2, group_key="g", distinct_key="fact"
    )
    spec = resolve(given_spec)
    documents = documents_of(rows, spec)
    assert [document.id for document in documents] == ["1", "3"]
    planned = plan(spec, documents)
    assert [item.strategy for item in planned[:4]] == ["reverse"] * 4
    assert planned[0].ask.prompt == "the bralo is bigger than the cemid.\n\nThe other way round:"
    asked = [item.ask.prompt for item in planned if item.strategy == "about"]
    assert len(asked) == 2 * len(set(asked))
    assert "What is known about bralo:" in asked


def test_a_row_without_its_group_is_named() -> None:
    spec = resolve(augmenter_pb2.AugmentationSpec(group_key="g"))
    with pytest.raises(Invalid) as caught:
        documents_of([{"id": "1", "text": "x", "metadata": {"g": 1}}, {"id": "2", "text": "y"}], spec)
    assert caught.value.field == "rows[1].metadata.g"


def test_outputs_become_statements() -> None:
    assert lines("1. A is B.\n - C is D.\n\n* E is F.") == ["A is B.", "C is D.", "E is F."]
    assert lines("\n \n") == [""]


@given(st.text())
def test_every_output_is_parsed(output: str) -> None:
    sieve = Sieve.over([], resolve(augmenter_pb2.AugmentationSpec()))
    for statement in lines(output):
        if not sieve.reason_to_drop(statement, []):
            assert normalized(statement)
            assert "\n" not in statement


def test_batches_share_a_context_and_lose_nothing() -> None:
    spec = resolve(augmenter_pb2.AugmentationSpec(group_key="world", samples_per_document=2))
    planned = plan(spec, documents_of(WORLD.documents, spec))
    cut = list(batches(planned, 16))
    assert [item for batch in cut for item in batch] == planned
    assert all(len(batch) <= 16 for batch in cut)
    assert all(len({item.ask.context_group for item in batch}) == 1 for batch in cut)
    assert list(batches([], 16)) == []


def test_batches_fit_a_message() -> None:
    rows = [{"id": str(i), "text": "字" * 200_000} for i in range(10)]  # three bytes each
    spec = resolve(augmenter_pb2.AugmentationSpec(strategies=["reverse"], samples_per_document=1))
    planned = plan(spec, documents_of(rows, spec))
    cut = list(batches(planned, 128))
    assert [item for batch in cut for item in batch] == planned
    assert [len(batch) for batch in cut] == [5, 5]
    assert len(sample_prompts(planned)) == 5
    assert sample_prompts(planned[:1]) == [planned[0].ask.prompt]
    assert most_outputs(128) > 128 > most_outputs(8192) >= 1


@pytest.mark.parametrize(("least", "kept", "unconfirmed"), [(0, 4, 0), (2, 3, 1), (3, 2, 3)])
def test_what_only_few_prompts_over_many_documents_wrote_is_dropped(
    least: int, kept: int, unconfirmed: int
) -> None:
    given_spec = augmenter_pb2.AugmentationSpec(
        strategies=["reverse", "link"], temperature=0.0, group_key="g", min_agreement=least
    )
    spec = resolve(given_spec)
    documents = documents_of([{"id": i, "text": f"{i}.", "metadata": {"g": "w"}} for i in "xy"], spec)
    planned = plan(spec, documents)
    assert [item.strategy for item in planned] == ["reverse", "reverse", "link", "link"]
    # Alone it may say what it likes; the first link is confirmed by the second, the other by nobody.
    outputs = ["Local.", "Local too.", "Linked.", "Linked.\nMixed up."]
    made = Derivation(spec, "m", "s", Sieve.over([], spec), Dose(0))
    for statement in made.sifted(planned, outputs):
        made.keep(statement, 1, {})
    assert [row["text"] for row in made.rows] == ["Local.", "Local too.", "Linked.", "Mixed up."][:kept]
    assert [row["provenance"]["agreement"] for row in made.rows] == [1, 1, 2, 1][:kept]
    assert made.dropped["unconfirmed"] == unconfirmed
    assert sum(made.kept.values()) + sum(made.dropped.values()) == 5
