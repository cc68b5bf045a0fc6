from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import common_pb2
from servicekit.selection import select_rows


def rows(*facts: tuple[str, str]) -> list[dict]:
    return [{"text": f"{i}", "metadata": {"world": w, "fact": f}} for i, (w, f) in enumerate(facts)]


def chosen(selection: common_pb2.RowSelection, of: list[dict]) -> list[str]:
    return [row["text"] for row in select_rows(of, selection)]


def test_by_key_then_the_first_of_each_value() -> None:
    of = [*rows(("a", "1"), ("b", "1"), ("a", "1"), ("a", "2")), {"text": "4"}]
    assert chosen(common_pb2.RowSelection(), of) == ["0", "1", "2", "3", "4"]
    assert chosen(common_pb2.RowSelection(key="world", value="a"), of) == ["0", "2", "3"]
    assert chosen(common_pb2.RowSelection(key="world", value="a", distinct_key="fact"), of) == ["0", "3"]


@given(st.integers(1, 40), st.floats(0.01, 1), st.integers(0, 5))
def test_a_part_is_rounded_up_in_order_and_the_same_again(count: int, share: float, seed: int) -> None:
    of = rows(*[("a", str(i)) for i in range(count)])
    subset = common_pb2.RowSelection(subset=common_pb2.Subset(share=share, seed=seed))
    found = [int(text) for text in chosen(subset, of)]
    assert found == sorted(found)
    assert share * count - 1e-6 <= len(found) < share * count + 1
    assert found == [int(text) for text in chosen(subset, of)]


def test_seeds_choose_differently() -> None:
    of = rows(*[("a", str(i)) for i in range(40)])
    parts = {
        tuple(chosen(common_pb2.RowSelection(subset=common_pb2.Subset(share=0.5, seed=seed)), of))
        for seed in range(5)
    }
    assert len(parts) == 5


def test_a_tenth_of_thirty_is_three() -> None:
    """And not the four that 3.0000000000000004 rounds up to."""
    of = rows(*[("a", str(i)) for i in range(30)])
    assert len(chosen(common_pb2.RowSelection(subset=common_pb2.Subset(share=0.1)), of)) == 3
