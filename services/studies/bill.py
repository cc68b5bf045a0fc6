"""What amounts of work cost in money, by the operator's dated prices. Pure; exact decimals.

price = that of the device's time (servicekit.prices), or tokens / 1,000,000 * price of a million of them where another
server answers.
"""

from decimal import Decimal

from ingrain.v1 import studies_pb2, trainer_pb2
from servicekit.prices import price_of_time
from services.studies.costs import Amount

MILLION = Decimal(1_000_000)


def price_of(
    amount: Amount, model: trainer_pb2.Model, device: str, table: studies_pb2.PriceTable
) -> Decimal | None:
    """Of work that `model` did on `device`; None where the table has no price for it."""
    if model.HasField("endpoint"):
        return _price_of_tokens(amount, model.endpoint.model_id, table)
    return price_of_time(amount.compute_seconds, device, table)


def _price_of_tokens(amount: Amount, model_id: str, table: studies_pb2.PriceTable) -> Decimal | None:
    if model_id not in table.tokens:
        return None
    prices = table.tokens[model_id]
    read, written = Decimal(prices.prompt), Decimal(prices.generated)
    cached = Decimal(prices.cached) if prices.cached else read
    return (
        Decimal(amount.prompt_token_count) * read
        + Decimal(amount.cached_token_count) * cached
        + Decimal(amount.generated_token_count) * written
    ) / MILLION
