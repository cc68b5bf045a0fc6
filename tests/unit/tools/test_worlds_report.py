import json

import pytest

from tools.worlds_measure import SCALES, chances, little
from tools.worlds_report import BEGIN, END, filled, reach, table, write

PAGE = f"# Worlds\n\nabove\n\n{BEGIN}\n\nold\n\n{END}\n\nbelow\n"


def share(value, low, high):
    return {"value": value, "ci95_low": low, "ci95_high": high, "n": 30, "clusters": 10}


@pytest.fixture
def result():
    return {
        "scale": "2 of something",
        "copies": 3,
        "seeds": [1, 2],
        "steps": 40,
        "commit": "0123456789abcdef",
        "minutes": 1.5,
        "chance": {"reversal": 0.25},
        "methods": {
            "icl": {"reversal": share(0.9, 0.8, 1.0)},
            "finetune": {"reversal": share(0.1, 0.0, 0.2)},
        },
    }


def test_a_table_says_scale_chance_and_every_method(result):
    text = table("family", result)
    assert "3 little worlds a seed (seeds 1, 2). Of each: 2 of something. Every training: 40 steps." in text
    assert "| kind | chance | icl | finetune | read in context |" in text
    assert "| reversal | 0.25 | 0.900 (0.800 to 1.000), n 30 | 0.100 (0.000 to 0.200), n 30 | yes |" in text


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.26, 0.4, "yes"), (0.2, 0.3, "no: not told from chance"), (0.0, 0.2, "below chance")],
)
def test_what_is_not_read_in_context_is_said(low, high, said):
    assert reach(share(0.25, low, high), 0.25) == said


def test_writing_one_world_keeps_the_others_and_the_page_around(result, tmp_path):
    (tmp_path / "worlds.md").write_text(PAGE)
    write("semantic", result, tmp_path)
    write("family", {**result, "steps": 41}, tmp_path)
    page = (tmp_path / "worlds.md").read_text()
    assert page.startswith("# Worlds\n\nabove\n")
    assert page.endswith("\n\nbelow\n")
    assert "old" not in page
    assert page.index("### family") < page.index("### semantic")
    found = json.loads((tmp_path / "worlds.json").read_text())
    assert {name: row["steps"] for name, row in found.items()} == {"family": 41, "semantic": 40}
    assert filled(page, found) == page


@pytest.mark.parametrize("name", SCALES)
def test_little_worlds_share_no_name_and_no_id(name):
    whole = little(name, 1, 4)
    ids = [row["id"] for row in whole.documents + whole.probes]
    assert len(set(ids)) == len(ids)
    facts = {}
    for document in whole.documents:
        facts.setdefault(document["metadata"]["world"], set()).add(document["metadata"]["fact"])
    assert len(facts) == 4
    assert all(8 <= len(numbers) <= 12 for numbers in facts.values()), "as many as the bundled model reads"
    owners = {}
    for probe in whole.probes:
        owners.setdefault(probe["prompt"].split()[0], set()).add(probe["metadata"]["world"])
    names = {word: worlds for word, worlds in owners.items() if word.islower()}
    assert names
    assert all(len(worlds) == 1 for worlds in names.values())


def test_chance_is_that_of_the_choices_shown():
    found = chances([little("family", 1, 2)])
    assert found["inverse"] == 0.25
    assert found["grandchild"] == 0.5
