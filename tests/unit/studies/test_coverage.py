from hypothesis import given
from hypothesis import strategies as st

from services.studies.coverage import covered_probes, normalised, split, statements
from services.studies.statistics import answers


def probe(id: str, prompt: str, choices: list[str], answer: object, world: str = "w1") -> dict:
    return {
        "id": id,
        "kind": "reversal",
        "prompt": prompt,
        "choices": choices,
        "answer": answer,
        "metadata": {"world": world},
    }


def row(text: str, world: str = "w1") -> dict:
    return {"text": text, "metadata": {"world": world}}


TORVEK = probe("p", "Torvek are", ["dimmer than fenlik.", "brighter than fenlik."], "dimmer than fenlik.")


def test_a_statement_among_the_rows_covers_its_probe() -> None:
    assert covered_probes([TORVEK], [row("It follows that  TORVEK are dimmer, than Fenlik!")]) == {"p"}


def test_words_match_whole_and_rows_are_not_joined() -> None:
    assert covered_probes([TORVEK], [row("torvek are dimmer than fenlika")]) == set()
    assert covered_probes([TORVEK], [row("all torvek are"), row("dimmer than fenlik")]) == set()
    assert covered_probes([TORVEK], [row("torvek are brighter than fenlik")]) == set()


def test_rows_of_another_group_do_not_cover() -> None:
    elsewhere = [row("torvek are dimmer than fenlik", world="w2")]
    assert covered_probes([TORVEK], elsewhere, "world") == set()
    assert covered_probes([TORVEK], elsewhere) == {"p"}


def test_any_of_several_right_answers_covers() -> None:
    several = probe("p", "Some", ["a are b", "b are a", "no"], ["a are b", "b are a"])
    assert statements(several) == ["Some a are b", "Some b are a"]
    assert covered_probes([several], [row("some b are a")]) == {"p"}


def test_a_choice_may_be_given_by_its_number() -> None:
    assert statements(probe("p", "X is", ["red", "blue"], 1)) == ["X is blue"]


def test_a_list_is_covered_when_one_row_has_all_of_it() -> None:
    listing = {"id": "l", "kind": "list", "question": "Which?", "answers": ["Abex", "Corvo"], "metadata": {}}
    assert covered_probes([listing], [row("The tools are Corvo and Abex.")]) == {"l"}
    assert covered_probes([listing], [row("A tool is Abex."), row("A tool is Corvo.")]) == set()


def test_accuracy_of_each_side() -> None:
    rows = [
        {"id": str(i), "kind": "reversal" if i < 4 else "list", "cluster": f"w{i % 2}", "value": v}
        for i, v in enumerate([1.0, 1.0, 0.0, 0.0, 0.5])
    ]
    inside = split(answers(rows), {"0", "1", "2"}, inside=True)
    outside = split(answers(rows), {"0", "1", "2"}, inside=False)
    assert (inside.n, inside.accuracy) == (3, 2 / 3)
    assert (outside.n, outside.accuracy) == (2, 0.25)
    assert outside.kinds == {"reversal": {"accuracy": 0.0, "n": 1}, "list": {"accuracy": 0.5, "n": 1}}
    assert split(answers(rows), set(), inside=True).accuracy is None


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert "\n" not in normalised(text)


@given(st.lists(st.text(alphabet="abc ", min_size=1, max_size=8), min_size=1, max_size=4))
def test_a_row_that_is_the_statement_always_covers(words: list[str]) -> None:
    text = " x ".join(words)
    assert covered_probes([probe("p", "x", [text], text)], [row(f"x {text}")]) == {"p"}
