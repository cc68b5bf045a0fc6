"""What a derived statement must pass: form, copies, duplicates, topic; contradictions by rule; a judge's verdicts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import augmenter_pb2
from ingrain.worlds.comparisons import DIMENSIONS
from services.augmenter.gates import REASONS, Sieve, agreement, normalized
from services.augmenter.gates.claims import SCHEMA, UNREADABLE, VERDICTS, prompt_of, verdict_of
from services.augmenter.gates.contradiction import contradiction
from services.augmenter.gates.topic import off_topic
from services.augmenter.spec import resolve
from services.augmenter.strategies import Document


def document(text: str, *subjects: str) -> Document:
    return Document("1", text, "", subjects, {})


def sieve(*texts: str, **gates: object) -> Sieve:
    spec = resolve(augmenter_pb2.AugmentationSpec(gates=augmenter_pb2.QualityGates(**gates)))
    return Sieve.over([document(text) for text in texts], spec)


def test_the_sieve_drops_and_says_why() -> None:
    found = sieve("Did you know? A is bigger than B.", "C is D.")
    reasons = [
        found.reason_to_drop(text, [])
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
    assert found.reason_to_drop("A is bigger than B.", []) == "copy"


def test_the_papers_setting_keeps_copies_and_duplicates() -> None:
    found = sieve("A is B.", keep_copies=True, keep_duplicates=True)
    assert [found.reason_to_drop(text, []) for text in ("A is B.", "A is B.", "", "C", "Zig is zag.")] == [
        *("", "", "empty", "unparsable", "")
    ]


def test_how_long_a_statement_may_be_is_said() -> None:
    found = sieve(max_characters=12)
    assert found.reason_to_drop("Twelve long.", []) == ""
    assert found.reason_to_drop("Thirteen lon.", []) == "too_long"


def test_what_is_dropped_is_not_remembered() -> None:
    """An unconfirmed statement does not make a duplicate of the same one that is."""
    found = sieve(near_duplicate_threshold=0.5)
    assert found.reason_to_drop("A is older than B.", [], confirmed=False) == "unconfirmed"
    assert found.reason_to_drop("A is older than B.", []) == ""
    assert found.reason_to_drop("A is older than B.", []) == "duplicate"
    assert found.reason_to_drop("So A is older than B.", []) == "near_duplicate"
    assert found.reason_to_drop("So A is older than B.", []) == "near_duplicate"


def test_a_near_duplicate_threshold_that_is_off_keeps_what_is_alike() -> None:
    found = sieve()
    assert found.reason_to_drop("A is older than B.", []) == ""
    assert found.reason_to_drop("So A is older than B.", []) == ""


def test_a_statement_without_a_subject_of_its_documents_is_off_topic() -> None:
    read = [document("Brevo are older than ilma.", "Brevo", "ilma"), document("x", "Grand Tool")]
    assert not off_topic("ILMA are younger.", read)
    assert not off_topic("Every ilma's age is known.", read)
    assert not off_topic("The grand tools are new.", read)
    assert off_topic("Grand plans need a tool.", read)
    assert off_topic("Ilmas are not what brevity is about.".replace("Ilmas", "Illness"), read)
    assert not off_topic("Anything.", [document("no subject here")])
    on = sieve(on_topic=True)
    assert on.reason_to_drop("Zumbo are old.", read) == "off_topic"
    assert sieve().reason_to_drop("Zumbo are old.", read) == ""


@pytest.mark.parametrize(
    ("statement", "contrary"),
    [
        ("Ilma are older than brevo.", "Ilma are younger than brevo."),
        (
            "Did you know? Ilma are less dangerous than glon.",
            "Did you know? Ilma are more dangerous than glon.",
        ),
        ("Glon are zorber than femp.", "Femp are zorber than glon."),
        ("We heard that femp are zorber than glon.", "We heard that glon are zorber than femp."),
        ("Ilma are not older than brevo.", "Ilma are older than brevo."),
        ("All glon are yomp.", "No glon are yomp."),
        ("All glon are yomp. All troff are glon.", "All glon are yomp. No troff are glon."),
        ("No glon are yomp.", "Some glon are yomp."),
        ("Some glon are yomp.", "No glon are yomp."),
        ("Some glon are not yomp.", "All glon are yomp."),
        ("Some think that ilma are older than brevo.", "Some think that ilma are younger than brevo."),
        ("She is always late.", "She is never late."),
        ("Wumf can fly.", "Wumf cannot fly."),
        ("Wumf cannot fly.", "Wumf can fly."),
        ("Brevo is owned by the ilma team.", "Brevo is not owned by the ilma team."),
        ("It has been sold.", "It has not been sold."),
        ("Wumf have scales.", "Wumf do not have scales."),
        ("They do not eat fish.", "They eat fish."),
        ("It isn't ready.", "It is ready."),
        ("Rather than wait, it is done.", "Rather than wait, it is not done."),
        ("Birds sing.", None),
        ("", None),
    ],
)
def test_contradictions_by_rule(statement: str, contrary: str | None) -> None:
    assert contradiction(statement) == contrary


def test_each_comparison_of_the_worlds_is_contradicted_by_its_opposite() -> None:
    for dimension in DIMENSIONS:
        for pole in (dimension.high, dimension.low):
            assert contradiction(f"Ilma are {pole} than brevo.") == (
                f"Ilma are {dimension.opposite(pole)} than brevo."
            )


@given(st.text())
def test_a_contradiction_is_another_statement(statement: str) -> None:
    found = contradiction(statement)
    assert found is None or normalized(found) != normalized(statement) or found != statement


def test_prompts_agree_on_a_statement_and_samples_of_one_do_not() -> None:
    written = [
        ("w", "about a", ["A is B.", "B is A."]),
        ("w", "about a", ["B is A"]),
        ("w", "link 1", ["a is  b."]),
        ("v", "link 1", ["A is B."]),
    ]
    assert agreement(written) == {("w", "a is b"): 2, ("w", "b is a"): 1, ("v", "a is b"): 1}


def answer(*verdicts: str) -> str:
    return json.dumps({"claims": [{"claim": "c", "verdict": verdict} for verdict in verdicts]})


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        (answer("supported", "supported"), "supported"),
        (answer("supported", "not_mentioned"), "not_mentioned"),
        (answer("not_mentioned", "contradicted", "supported"), "contradicted"),
        ("Here you are:\n```json\n" + answer("supported") + "\n```", "supported"),
        (answer(), UNREADABLE),
        (answer("maybe"), UNREADABLE),
        (answer("supported")[:-3], UNREADABLE),
        ('{"claims": "none"}', UNREADABLE),
        ("[1]", UNREADABLE),
        ("Yes.", UNREADABLE),
    ],
)
def test_a_verdict_is_that_of_the_worst_claim_or_unreadable(output: str, verdict: str) -> None:
    assert verdict_of(output) == verdict


@given(st.text())
def test_every_answer_of_a_judge_has_a_verdict(output: str) -> None:
    assert verdict_of(output) in (*VERDICTS, UNREADABLE)


def test_the_judge_reads_documents_and_statement_as_they_are() -> None:
    asked = prompt_of("A {documents} B", ["one {statement}", "two"])
    assert asked.startswith("one {statement}\ntwo\n\nAbove are documents.")
    assert asked.endswith("Statement: A {documents} B")
    assert json.loads(SCHEMA)["properties"]["claims"]["maxItems"] == 8


def test_reasons_are_told_once() -> None:
    assert len(set(REASONS)) == len(REASONS)
