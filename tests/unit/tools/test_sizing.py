"""The page is what the tool says, and the tool's numbers are what a hand gets."""

from pathlib import Path

import pytest

from tools.sizing import SHAPES, cell, gpus, page


def test_the_page_is_the_tools() -> None:
    """`python -m tools.sizing` rewrites it."""
    assert (Path(__file__).parents[3] / "docs/sizing.md").read_text() == page()


def test_training_by_hand() -> None:
    """8B, 1,000 pages: 650,000 tokens and four times 250 written for each page, three passes."""
    eight = SHAPES[1]
    tokens = 3 * (650_000 + 1_000_000)
    flops = 6 * 8.03e9 * tokens + 12 * 32 * 4096 * tokens * (1024 + 1) / 2
    assert cell(eight, 1000).train_hours == pytest.approx(flops / (0.4 * 989e12) / 3600)


def test_memory_by_hand() -> None:
    assert gpus(1.0) == 1
    assert gpus(72e9 + 1) == 2
    assert gpus(cell(SHAPES[1], 100).full_bytes) == 2  # 128.5 GB of weights and optimizer
    assert gpus(cell(SHAPES[1], 100).lora_bytes) == 1
    assert gpus(cell(SHAPES[2], 100).full_bytes) == 16


def test_what_does_not_fit_is_marked() -> None:
    assert cell(SHAPES[1], 100).whole
    assert not cell(SHAPES[1], 1000).whole
    assert " *" in page()


def test_more_pages_never_cost_less() -> None:
    for shape in SHAPES:
        few, some, many = (cell(shape, pages) for pages in (100, 1000, 10_000))
        assert few.augment_hours < some.augment_hours < many.augment_hours
        assert few.train_hours < some.train_hours < many.train_hours
        assert some.adapted_hours == many.adapted_hours < many.rag_hours < many.in_context_hours
