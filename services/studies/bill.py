"""What amounts of work cost in money: the device's time, or tokens where another server answers (servicekit.prices). Pure."""

from decimal import Decimal

from ingrain.v1 import studies_pb2, trainer_pb2
from servicekit.prices import price_of_time, price_of_tokens
from services.studies.costs import Amount


def price_of(
    amount: Amount, model: trainer_pb2.Model, device: str, table: studies_pb2.PriceTable
) -> Decimal | None:
    """Of work that `model` did on `device`; None where the table has no price for it."""
    if not model.HasField("endpoint"):
        return price_of_time(amount.compute_seconds, device, table)
    return price_of_tokens(
        amount.prompt_token_count,
        amount.cached_token_count,
        amount.generated_token_count,
        model.endpoint.model_id,
        table,
    )
