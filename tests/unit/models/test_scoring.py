import pytest

scoring = pytest.importorskip("scoring")
card = pytest.importorskip("card")


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [(0.5, 100, 0.404, 0.596), (0.0, 10, 0.0, 0.278), (1.0, 10, 0.722, 1.0)],
)
def test_wilsons_interval(share, n, low, high):
    assert scoring.wilson(share, n) == pytest.approx((low, high), abs=1e-3)


def test_numbers_replace_what_stands_between_the_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{card.BEGIN}\nold\n{card.END}\nafter\n")
    results = {"reversal/4": {"accuracy": 0.9, "n": 10, "ci95": [0.6, 0.98], "chance": 0.5}}
    for _ in range(2):
        card.write_numbers(path, results)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("| reversal, 2 choices, facts in context: 4 | 0.900 | 0.600 to 0.980 | 10 |") == 1
