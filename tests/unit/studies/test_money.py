import json
from decimal import Decimal
from pathlib import Path

import pytest

from ingrain.v1 import common_pb2, studies_pb2, trainer_pb2
from servicekit.errors import Invalid
from servicekit.prices import hour_price, load_prices, money, parts_of, price_of, price_of_parts, shown
from services.studies.costs import FLOP, Amount, Economy
from services.studies.limits import check_budget, limits_of, p95

TABLE = studies_pb2.PriceTable(
    effective_date="2026-11-01",
    currency_code="EUR",
    device_hours={"cpu": "0.36", "NVIDIA H100": "3.60", "NVIDIA H100 NVL": "7.20"},
    tokens={"large-2": studies_pb2.TokenPrice(prompt="0.40", cached="0.10", generated="1.60")},
)
LOCAL = trainer_pb2.Model()
FAR = trainer_pb2.Model(endpoint=trainer_pb2.Endpoint(model_id="large-2"))


def test_an_hour_is_priced_by_the_longest_name_that_fits() -> None:
    assert hour_price("NVIDIA H100 80GB", TABLE.device_hours) == Decimal("3.60")
    assert hour_price("NVIDIA H100 NVL 94GB", TABLE.device_hours) == Decimal("7.20")
    assert hour_price("tpu", TABLE.device_hours) is None
    assert hour_price("tpu", {"*": "1"}) == 1


def test_seconds_and_tokens_become_money() -> None:
    assert price_of(Amount(compute_seconds=100), LOCAL, "cpu", TABLE) == Decimal("0.01")
    read = Amount(prompt_token_count=500_000, cached_token_count=1_000_000, generated_token_count=250_000)
    assert price_of(read, FAR, "cpu", TABLE) == Decimal("0.70")
    assert (
        price_of(read, trainer_pb2.Model(endpoint=trainer_pb2.Endpoint(model_id="x")), "cpu", TABLE) is None
    )


def test_what_a_judge_took_is_priced_as_its_own() -> None:
    whole = common_pb2.Cost(compute_seconds=130, prompt_token_count=1_500_000, generated_token_count=250_000)
    far = common_pb2.Cost(prompt_token_count=500_000, generated_token_count=250_000)
    # Seconds of this platform's device, and tokens of the other server.
    assert price_of_parts(parts_of(whole, LOCAL, far, FAR), "cpu", TABLE) == Decimal("0.013") + Decimal(
        "0.60"
    )
    # Whoever writes is elsewhere and the judge is here: 1,000,000 tokens read, and 130 s.
    near = common_pb2.Cost(compute_seconds=130, prompt_token_count=500_000, generated_token_count=250_000)
    assert price_of_parts(parts_of(whole, FAR, near, LOCAL), "cpu", TABLE) == Decimal("0.40") + Decimal(
        "0.013"
    )
    both = common_pb2.Cost(compute_seconds=30)
    assert price_of_parts(parts_of(whole, LOCAL, both, LOCAL), "cpu", TABLE) == Decimal("0.013")
    assert price_of_parts(parts_of(whole, LOCAL), "cpu", TABLE) == Decimal("0.013")


def test_a_derivation_has_no_price_where_one_part_has_none() -> None:
    whole, part = common_pb2.Cost(compute_seconds=10), common_pb2.Cost(compute_seconds=1)
    unknown = trainer_pb2.Model(endpoint=trainer_pb2.Endpoint(model_id="x"))
    assert price_of_parts(parts_of(whole, LOCAL, part, unknown), "cpu", TABLE) is None
    assert price_of_parts(parts_of(whole, unknown, part, LOCAL), "cpu", TABLE) is None
    assert price_of_parts(parts_of(whole, FAR, part, LOCAL), "tpu", TABLE) is None


def test_tokens_without_a_price_of_their_own_for_the_cache_cost_as_read() -> None:
    table = studies_pb2.PriceTable(tokens={"large-2": studies_pb2.TokenPrice(prompt="2", generated="1")})
    assert price_of(Amount(cached_token_count=1_000_000), FAR, "", table) == 2


def test_money_is_rounded_to_a_millionth_and_shown_with_cents() -> None:
    assert [shown(Decimal(v)) for v in ("12", "0.5", "0.1234567", "1000000.1")] == [
        "12.00",
        "0.50",
        "0.123457",
        "1000000.10",
    ]
    assert money(Decimal(1), TABLE) == common_pb2.Money(currency_code="EUR", amount="1.00")


def test_the_example_of_the_repository_is_a_table() -> None:
    assert load_prices(Path(__file__).parents[3] / "examples/prices.json").currency_code == "EUR"
    assert not load_prices(None).currency_code


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"effective_date": "yesterday"}, "effective_date"),
        ({"currency_code": "euros"}, "currency_code"),
        ({"device_hours": {"cpu": "cheap"}}, r"device_hours\[cpu\]"),
        ({"device_hours": {"cpu": "-1"}}, r"device_hours\[cpu\]"),
        ({"tokens": {"m": {"prompt": "1"}}}, r"tokens\[m\].generated"),
        ({"nonsense": 1}, "cannot be read"),
    ],
)
def test_a_table_that_is_wrong_says_where(change: dict, said: str, tmp_path: Path) -> None:
    table = {"effective_date": "2026-11-01", "currency_code": "EUR", "device_hours": {"cpu": "1"}}
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({**table, **change}))
    with pytest.raises(ValueError, match=said):
        load_prices(path)


def requirements(**values: object) -> studies_pb2.Requirements:
    return studies_pb2.Requirements(**values)


ECONOMY = Economy("EUR", {"a": 1.0, "b": 100.0}, {"a": 0.02, "b": 0.0}, {}, 100)


def test_a_budget_is_for_building_and_asking() -> None:
    budget = common_pb2.Money(currency_code="EUR", amount="3")
    found = limits_of(requirements(budget=budget), ECONOMY, {})
    assert set(found.broken) == {"b"}
    assert "100.00 EUR are more than the budget of 3 EUR" in found.broken["b"]
    assert found.without == {"the budget of 3 EUR": {}}


def test_two_limits_and_what_each_of_them_keeps_out() -> None:
    budget = common_pb2.Money(currency_code="EUR", amount="3")
    latencies = {"a": [0.1] * 19 + [9.0], "b": [0.1] * 18 + [9.0] * 2}
    found = limits_of(requirements(budget=budget, latency_seconds=1), ECONOMY, latencies)
    assert set(found.broken) == {"b"}
    assert "; " in found.broken["b"]
    assert set(found.without["the limit of 1 s"]) == {"b"}


def test_who_was_not_timed_breaks_a_limit_of_time() -> None:
    assert set(limits_of(requirements(latency_seconds=1), ECONOMY, {"a": [0.5]}).broken) == {"b"}


def test_a_budget_without_prices_is_said_not_to_be_weighed() -> None:
    budget = common_pb2.Money(currency_code="EUR", amount="3")
    by_flops = Economy(FLOP, ECONOMY.build, ECONOMY.question, {}, 100)
    found = limits_of(requirements(budget=budget), by_flops, {})
    assert (dict(found.broken), bool(found.unchecked)) == ({}, True)


def test_a_budget_is_refused_beforehand_where_something_has_no_price() -> None:
    budget = requirements(budget=common_pb2.Money(currency_code="EUR", amount="3"))
    check_budget(budget, TABLE, "cpu", [LOCAL, FAR])
    with pytest.raises(Invalid, match="'tpu'"):
        check_budget(budget, TABLE, "tpu", [LOCAL])
    dollars = common_pb2.Money(currency_code="USD", amount="3")
    with pytest.raises(Invalid, match="anything in USD"):
        check_budget(requirements(budget=dollars), TABLE, "cpu", [LOCAL])


def test_95_of_100() -> None:
    assert p95([]) is None
    assert p95([float(i) for i in range(1, 21)]) == 19
    assert p95([3.0]) == 3
