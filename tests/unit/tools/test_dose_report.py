"""Which dose is enough, told from answers by the statistics of studies."""

import random
from typing import Any

from tools.dose_report import NONE, Dosed, enough, markdown, result_of, sentence

FRAME = {
    "seeds": [1, 2],
    "worlds": 24,
    "facts": 8,
    "steps": 400,
    "temperature": 0.7,
    "min_agreement": 2,
    "commit": "c" * 40,
    "minutes": 12.0,
}


def dosed(share_right: float, rows: int, price: str | None = "0.01") -> Dosed:
    random_ = random.Random(f"{share_right}")
    found = Dosed(seeds=[1, 2])
    for cluster in range(20):
        for i in range(20):
            kind = ("forward", "reversal")[i % 2]
            value = float(random_.random() < share_right)
            found.rows.append(
                {"id": f"{cluster}-{i}", "kind": kind, "cluster": f"w{cluster}", "value": value}
            )
    for _ in range(2 if rows else 0):
        found.derived.append(
            {
                "rows": rows,
                "tokens": 10 * rows,
                "dropped": {"duplicate": 2 * rows, "copy": 3},
                "prompts": 4 * rows,
                "covered": 5,
                "flops": 1e12,
                "compute_seconds": 2.5,
                "price": price,
                "currency": "EUR",
            }
        )
    return found


def result(*shares: float) -> dict[str, Any]:
    doses = {NONE: dosed(shares[0], 0)}
    doses |= {f"{4**n}x": dosed(share, 100 * 4**n) for n, share in enumerate(shares[1:])}
    return FRAME | result_of(doses)


def test_more_stops_paying_where_no_larger_dose_is_better() -> None:
    found = result(0.5, 0.8, 0.81, 0.8)
    assert found["enough"] == "1x"
    assert sentence(found).startswith("More stops paying at 1x: no larger dose is significantly better (4x ")


def test_more_may_pay_to_the_end_or_not_at_all() -> None:
    assert result(0.3, 0.5, 0.7, 0.95)["enough"] == "16x"
    assert "every smaller dose is significantly worse" in sentence(result(0.3, 0.5, 0.7, 0.95))
    assert result(0.6, 0.6, 0.6, 0.6)["enough"] == NONE
    assert "training on the documents alone" in sentence(result(0.6, 0.6, 0.6, 0.6))


def test_a_larger_dose_that_is_worse_is_no_reason_for_more() -> None:
    assert result(0.4, 0.9, 0.6)["enough"] == "1x"


def test_a_dose_is_not_enough_while_any_larger_one_is_better() -> None:
    """4x is not better than 1x, 16x is."""
    comparisons = [
        {"larger": "4x", "smaller": "1x", "value": 0.01, "p_adjusted": 0.7},
        {"larger": "16x", "smaller": "1x", "value": 0.1, "p_adjusted": 0.001},
        {"larger": "16x", "smaller": "4x", "value": 0.09, "p_adjusted": 0.01},
    ]
    assert enough(["1x", "4x", "16x"], comparisons) == "16x"


def test_the_page_has_what_was_derived_and_what_it_took() -> None:
    page = markdown(result(0.5, 0.8, 0.81))
    assert "| 1x | 800 | 200 | 2,000 | 400 | 6 | 10 | 2.00 | 5.0 | 0.02 EUR |" in page
    assert page.count("| none | ") == 1  # nothing was derived for it
    assert "n 400" in page
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert all(line.endswith("|") for line in lines)


def test_without_prices_there_is_none() -> None:
    doses = {NONE: dosed(0.5, 0), "1x": dosed(0.8, 100, price=None)}
    assert result_of(doses)["doses"]["1x"]["derived"]["price"] is None
