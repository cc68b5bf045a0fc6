"""The pure parts: subjects, the shuffled control, prompts, parsing, filters, batches."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain import worlds
from ingrain.v1 import augmenter_pb2
from servicekit.errors import Invalid
from services.augmenter.documents import documents_of
from services.augmenter.entities import shuffled, subjects, words
from services.augmenter.filters import Sieve, agreement, normalized, statements
from services.augmenter.pipeline import derived_rows
from services.augmenter.planning import batches, most_outputs, plan, sample_prompts
from services.augmenter.spec import resolve
from services.augmenter.strategies import STRATEGIES
from services.augmenter.strategies.base import PROMPTS, template

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


def test_each_prompt_set_has_every_strategy() -> None:
    for folder in PROMPTS.iterdir():
        assert sorted(path.stem for path in folder.iterdir()) == sorted(STRATEGIES)
        for name in STRATEGIES:
            text = template(folder.name, name)
            assert text == text.strip()
            assert ("{subject}" if name == "about" else "{document}") in text


def test_prompts_are_those_that_the_bundled_model_knows_and_does_not_know() -> None:
    for name in STRATEGIES:
        local = "{document}\n\n" if name in ("rephrase", "reverse", "infer") else ""
        assert template("default", name) == local + worlds.WORDINGS[name][0]
        assert template("heldout", name) in {local + wording for wording in worlds.HELDOUT_WORDINGS[name]}


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


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("spec.strategies[1]", augmenter_pb2.AugmentationSpec(strategies=["infer", "nonsense"])),
        ("spec.prompt_set", augmenter_pb2.AugmentationSpec(prompt_set="nonsense")),
    ],
)
def test_unknown_names_are_said_with_the_known_ones(field: str, spec: augmenter_pb2.AugmentationSpec) -> None:
    with pytest.raises(Invalid) as caught:
        resolve(spec)
    assert caught.value.field == field
    assert "there are" in caught.value.message


def test_outputs_become_statements() -> None:
    assert statements("1. A is B.\n - C is D.\n\n* E is F.") == ["A is B.", "C is D.", "E is F."]
    assert statements("\n \n") == [""]


def test_the_sieve_drops_and_says_why() -> None:
    sieve = Sieve.over(["Did you know? A is bigger than B.", "C is D."])
    reasons = [
        sieve.reason_to_drop(text)
        for text in (
            "",
            "no end",
            "...",
            "x" * 3000 + ".",
            "a is  bigger than b",
            "c is D.",
            "B is smaller.",
            "b IS smaller.",
            "New.",
        )
    ]
    assert reasons == ["empty", "unparsable", "empty", "too_long", "unparsable", "copy", "", "duplicate", ""]
    assert sieve.reason_to_drop("A is bigger than B.") == "copy"


@given(st.text())
def test_every_output_is_parsed(output: str) -> None:
    sieve = Sieve.over([])
    for statement in statements(output):
        if not sieve.reason_to_drop(statement):
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


def test_prompt_files_are_text() -> None:
    assert all(Path(path).read_text() for path in PROMPTS.rglob("*.txt"))


def test_prompts_agree_on_a_statement_and_samples_of_one_do_not() -> None:
    prompts = [("w", "about a"), ("w", "about a"), ("w", "link 1"), ("v", "link 1")]
    found = agreement(prompts, ["A is B.\nB is A.", "B is A", "a is  b.", "A is B."])
    assert found == {("w", "a is b"): 2, ("w", "b is a"): 1, ("v", "a is b"): 1}


@pytest.mark.parametrize(("least", "unconfirmed"), [(0, 0), (2, 1), (3, 2)])
def test_what_only_few_prompts_over_many_documents_wrote_is_dropped(least: int, unconfirmed: int) -> None:
    given_spec = augmenter_pb2.AugmentationSpec(
        strategies=["reverse", "link"], temperature=0.0, group_key="g", min_agreement=least
    )
    spec = resolve(given_spec)
    documents = documents_of([{"id": i, "text": f"{i}.", "metadata": {"g": "w"}} for i in "xy"], spec)
    planned = plan(spec, documents)
    assert [item.strategy for item in planned] == ["reverse", "reverse", "link", "link"]
    # Alone it may say what it likes; the first link is confirmed by the second, the other by nobody.
    outputs = ["Local.", "Local too.", "Linked.", "Linked.\nMixed up."]
    kept: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    rows = list(derived_rows(spec, "m", "s", planned, outputs, Sieve.over([]), kept, dropped))
    assert [row["text"] for row in rows] == ["Local.", "Local too.", "Linked.", "Mixed up."][
        : 4 - unconfirmed
    ]
    assert [row["provenance"]["agreement"] for row in rows] == [1, 1, 2, 1][: 4 - unconfirmed]
    assert dropped["unconfirmed"] == unconfirmed
    assert sum(kept.values()) + sum(dropped.values()) == 5
