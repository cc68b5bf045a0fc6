"""What a gate got right and wrong, told by the truth of worlds."""

from pathlib import Path
from typing import Any

import pytest

from tools.gates_measure import told, truths_of
from tools.gates_report import BEGIN, END, Judged, judged, near_claims, table, write

DOCUMENTS = [
    {"text": "It is said that ilma are older than brevo.", "metadata": {"world": "w"}},
    {"text": "Zumbo are brighter than ilma.", "metadata": {"world": "w"}},
]
TRUE, FALSE, UNTOLD = "Brevo are younger than ilma.", "brevo are older than ilma.", "Brevo sing."


def rows(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text, "metadata": {"world": "w"}} for text in texts]


def test_the_worlds_tell_what_follows() -> None:
    truths = truths_of(DOCUMENTS)
    made = rows("brevo are younger than ilma.", FALSE, UNTOLD)
    assert told(made, truths) == {"true": 1, "false": 1, "untold": 1}


def test_what_a_gate_dropped_is_counted_by_truth() -> None:
    truths = truths_of(DOCUMENTS)
    right = "brevo are younger than ilma."
    every = rows(right, right, FALSE, FALSE, UNTOLD)
    found = judged(every, rows(right, FALSE), truths, 1.5)
    assert found == Judged(1, 1, 1, 1, 1, 0, 1.5)
    assert (found.precision, found.recall, found.lost) == (0.5, 0.5, 0.5)
    nothing = judged(every, every, truths, 0.0)
    assert (nothing.precision, nothing.recall, nothing.lost) == (None, 0.0, 0.0)


def test_near_duplicates_are_told_apart_by_what_they_say() -> None:
    same, other = "So brevo are younger than ilma.", "Brevo are younger than zumbo."
    made = rows("Brevo are younger than ilma.", same, other, "Brevo are younger than")
    assert near_claims(made, [0.5, 0.99]) == {
        "0.5": {"same": 1, "other": 1, "untold": 1},
        "0.99": {"same": 0, "other": 0, "untold": 0},
    }


@pytest.fixture
def result() -> dict[str, Any]:
    return {
        "seed": 1,
        "sizes": {"reversal_worlds": 8, "syllogism_worlds": 8, "facts": 8},
        "samples": 4,
        "commit": "c" * 40,
        "minutes": 3.0,
        "written": {"rows": 900},
        "usual": {"rows": 400, "true": {"true": 300, "false": 80, "untold": 20}},
        "by_strategy": {"reverse": {"true": 300, "false": 80, "untold": 20}},
        "near": {"0.5": {"same": 3, "other": 1, "untold": 0}},
        "gates": {"on_topic": vars(Judged(1, 3, 0, 299, 77, 20, 0.0))},
    }


def test_the_table_has_shares_with_their_counts(result: dict[str, Any]) -> None:
    assert "| `on_topic` | 4 | 75 %, n 4 | 4 %, n 80 | 0 %, n 300 | 396; 80 %, n 376 |" in table(result)
    assert "| 0.5 | 3 | 1 | 0 |" in table(result)


def test_only_the_measured_part_of_the_page_is_written_anew(result: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "gates.md"
    page.write_text(f"# Gates\n\n{BEGIN}\nnumbers of last year\n{END}\n\nThe rest.\n")
    write(result, tmp_path)
    text = page.read_text()
    assert text.startswith("# Gates\n\n")
    assert text.endswith(f"{END}\n\nThe rest.\n")
    assert "last year" not in text
    write(result, tmp_path)
    assert page.read_text() == text
