"""What `tools/measure_probes.py` takes as the truth: by example, for every statement that worlds make."""

import pytest

from tools.probe_truth import Truth, entails

TRUTH = Truth(
    [
        "In fact, a are more curious than b.",
        "c are older than d.",
        "The relationships between x, y and z are: All x are y. No z are y.",
        "Surely, tool is owned by the red team.",
        "other is owned by the red team.",
        "tool is an internal tool for time tracking.",
        "m are a kind of n.",
        "n are a kind of o.",
        "o have fur.",
    ]
)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("a are more curious than b.", True),
        ("b are less curious than a.", True),
        ("b are more curious than a.", False),
        ("d are younger than c.", True),
        ("d are older than c.", False),
        ("No x are z.", True),
        ("No z are x.", True),
        ("Some x are y.", True),
        ("All y are x.", False),
        ("The red team owns tool and other.", True),
        ("The red team owns tool and third.", False),
        ("tool is in the hands of other.", False),
        ("One internal tool for time tracking is tool.", True),
        ("m are a kind of o.", True),
        ("Those that have fur include m.", True),
        ("m can fly.", False),
        ("The kinds of o are n and m.", True),
        ("Nothing of the sort.", None),
    ],
)
def test_statements_follow_or_not(statement: str, expected: bool | None) -> None:
    assert TRUTH.of(statement) is expected


def test_entailment_is_that_of_logic() -> None:
    premises = [("Some", "a", "b"), ("All", "b", "c")]
    assert entails(premises, ("Some", "a", "c"))
    assert not entails(premises, ("All", "a", "c"))
    assert not entails(premises, ("Some", "a", "d"))
