"""What is left, from what was done."""

from servicekit.pace import in_words, pace


def test_what_is_left_takes_as_long_as_what_was_done() -> None:
    assert pace(10, 20, 5.0, "prompts") == "2 prompts/s, about 10 s left"
    assert pace(1, 600, 1.0, "prompts") == "1 prompts/s, about 10 min left"


def test_nothing_is_said_before_anything_is_known_or_when_nothing_is_left() -> None:
    assert [pace(0, 5, 1.0, "rows"), pace(3, 0, 1.0, "rows"), pace(3, 3, 0.0, "rows")] == ["", "", ""]


def test_times_have_the_unit_that_a_person_would_take() -> None:
    assert [in_words(s) for s in (0.2, 119, 120, 7199, 7200)] == ["1 s", "119 s", "2 min", "120 min", "2 h"]
