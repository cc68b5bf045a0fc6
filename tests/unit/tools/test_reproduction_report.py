"""What three seeds are pooled into."""

import pytest

from tools.reproduction_report import drawing, findings, grid, markdown, pooled, summary

KINDS = ("forward", "reversal", "syllogism")


def answers(share: float) -> dict[tuple[int, str, str], float]:
    """Two seeds, 30 worlds each, 10 probes a world, of which `share` are right."""
    return {
        (seed, f"w{world}", f"{world}-{probe}"): float(probe < round(10 * share))
        for seed in (1, 2)
        for world in range(30)
        for probe in range(10)
    }


def methods(**reversal: float) -> dict:
    shares = {"finetune": 0.5, "icl": 0.8, "augmented_finetune": 0.9, "shuffled_finetune": 0.5} | reversal
    return {
        method: {
            "forward": answers(1.0),
            "reversal": answers(share),
            "syllogism": answers(0.7 if method == "augmented_finetune" else 0.4),
        }
        for method, share in shares.items()
    }


def test_worlds_of_two_seeds_are_clusters_of_their_own():
    found = summary({(1, "w", "a"): 1.0, (2, "w", "a"): 0.0, (2, "w", "b"): 0.0})
    assert (found["clusters"], found["n"]) == (2, 3)
    assert found["value"] == pytest.approx(1 / 3)
    assert (found["ci95_low"], found["ci95_high"]) == (0.0, 1.0)


def test_findings_hold_where_they_do():
    assert all(holds for _, _, holds in findings(pooled(methods())))


@pytest.mark.parametrize(
    ("changed", "which"),
    [
        ({"finetune": 0.7, "shuffled_finetune": 0.7}, 1),
        ({"icl": 0.7}, 2),
        ({"augmented_finetune": 0.8}, 3),
        ({"shuffled_finetune": 0.6}, 5),
    ],
)
def test_each_finding_can_fail(changed, which):
    found = [holds for _, _, holds in findings(pooled(methods(**changed)))]
    assert [i for i, holds in enumerate(found) if not holds] == [which]


def test_the_page_and_the_drawing_say_every_number():
    table = pooled(methods())
    result = {"seeds": [1, 2], "minutes": 1, "commit": "c" * 40, "facts": 4}
    page = markdown(result | {"findings": findings(table), "variants": {"default": table}})
    assert "| finetune | 1.000 (0.940 to 1.000), n 600 | 0.500 (0.470 to 0.530), n 600 |" in page
    assert page.count("| yes |") == 6
    assert len(grid(table["differences"])) == 2 + 3
    svg = drawing(table["methods"], dict.fromkeys(KINDS, 0.5))
    assert svg.startswith("<svg")
    assert "augmented_finetune" in svg
