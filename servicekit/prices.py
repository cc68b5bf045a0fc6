"""What a device's time and another server's tokens cost in money, by the operator's dated prices. Pure, exact decimals.

price = seconds of the device / 3600 * price of its hour, or tokens / 1,000,000 * price of a million of them
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Protocol

from google.protobuf.json_format import Parse, ParseError

from ingrain.v1 import common_pb2, studies_pb2, trainer_pb2
from servicekit.amounts import without

HOUR_S = Decimal(3600)
MILLION = Decimal(1_000_000)
ANY_DEVICE = "*"
_SHOWN = Decimal("0.000001")


class Work(Protocol):
    """A Cost, or an average of some."""

    @property
    def prompt_token_count(self) -> float: ...
    @property
    def cached_token_count(self) -> float: ...
    @property
    def generated_token_count(self) -> float: ...
    @property
    def compute_seconds(self) -> float: ...


Part = tuple[Work, trainer_pb2.Model]


def load_prices(path: Path | None) -> studies_pb2.PriceTable:
    """The operator's table; empty without a file. Raises ValueError that names what is wrong in it."""
    table = studies_pb2.PriceTable()
    if path is None:
        return table
    try:
        Parse(path.read_text(), table)
    except (OSError, ParseError) as error:
        raise ValueError(f"prices: {path} cannot be read as a price table: {error}") from error
    try:
        date.fromisoformat(table.effective_date)
    except ValueError:
        raise ValueError(f"prices: {path}: effective_date must be a day, e.g. 2026-11-01") from None
    if len(table.currency_code) != 3:
        raise ValueError(f"prices: {path}: currency_code must have three letters, e.g. EUR")
    for name, price in table.device_hours.items():
        _decimal(price, f"{path}: device_hours[{name}]")
    for name, prices in table.tokens.items():
        for field in ("prompt", "cached", "generated"):
            if getattr(prices, field) or field != "cached":
                _decimal(getattr(prices, field), f"{path}: tokens[{name}].{field}")
    return table


def price_of(
    work: Work, model: trainer_pb2.Model, device: str, table: studies_pb2.PriceTable
) -> Decimal | None:
    """Of work that `model` did on `device`: the device's time, or tokens where another server answers. None where the table
    has no price for it."""
    if not model.HasField("endpoint"):
        return price_of_time(work.compute_seconds, device, table)
    return price_of_tokens(
        work.prompt_token_count,
        work.cached_token_count,
        work.generated_token_count,
        model.endpoint.model_id,
        table,
    )


def price_of_parts(parts: Sequence[Part], device: str, table: studies_pb2.PriceTable) -> Decimal | None:
    """Of what several models did; None where one of them has no price."""
    prices = [price_of(work, model, device, table) for work, model in parts]
    return None if None in prices else sum((price for price in prices if price is not None), Decimal(0))


def parts_of(
    cost: common_pb2.Cost,
    model: trainer_pb2.Model,
    judge_cost: common_pb2.Cost | None = None,
    judge: trainer_pb2.Model | None = None,
) -> list[Part]:
    """Who did what of a derivation's `cost`: the generator, and the judge, whose part `judge_cost` is; None where nothing was judged."""
    if judge_cost is None or judge is None:
        return [(cost, model)]
    return [(without(cost, judge_cost), model), (judge_cost, judge)]


def price_of_time(seconds: float, device: str, table: studies_pb2.PriceTable) -> Decimal | None:
    """None where the table has no price for the device."""
    hour = hour_price(device, table.device_hours)
    return None if hour is None else Decimal(seconds) / HOUR_S * hour


def hour_price(device: str, prices: Mapping[str, str]) -> Decimal | None:
    """By the device's name, else by the longest beginning of it, else by `*`."""
    known = [name for name in prices if name != ANY_DEVICE and device.startswith(name)]
    found = max(known, key=len, default=ANY_DEVICE)
    return Decimal(prices[found]) if found in prices else None


def price_of_tokens(
    read: float, cached: float, written: float, model_id: str, table: studies_pb2.PriceTable
) -> Decimal | None:
    """Of a model that another server answers for. None where the table does not have it."""
    if model_id not in table.tokens:
        return None
    prices = table.tokens[model_id]
    each_read, each_written = Decimal(prices.prompt), Decimal(prices.generated)
    each_cached = Decimal(prices.cached) if prices.cached else each_read
    return (
        Decimal(read) * each_read + Decimal(cached) * each_cached + Decimal(written) * each_written
    ) / MILLION


def money(amount: Decimal, table: studies_pb2.PriceTable) -> common_pb2.Money:
    """Rounded to a millionth."""
    return common_pb2.Money(currency_code=table.currency_code, amount=shown(amount))


def shown(amount: Decimal) -> str:
    text = format(amount.quantize(_SHOWN), "f")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def _decimal(text: str, where: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value < 0:
        raise ValueError(f"prices: {where}: {text!r} is no price; expected a decimal, e.g. 2.50")
    return value
