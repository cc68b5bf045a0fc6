"""What models took, in money by the operator's table, with a sentence about it: of an estimate and of a derivation alike."""

from collections.abc import Sequence

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, inference_pb2, studies_pb2
from servicekit.patience import Patience
from servicekit.prices import Part, money, price_of, price_of_parts


async def priced(
    client: AsyncClient,
    parts: Sequence[Part],
    prices: studies_pb2.PriceTable,
    patience: Patience | None = None,
) -> tuple[common_pb2.Money | None, list[str]]:
    """What each model did, together; nothing where the operator has set no prices, no money where one of them has none. `patience`:
    how long is waited for the engine, which tells the device where a model of this platform has a part."""
    if not prices.currency_code or not parts:
        return None, []
    own = any(not model.HasField("endpoint") for _, model in parts)
    device = await engine_device(client, patience or Patience(0.0)) if own else ""
    day = prices.effective_date
    missing = [
        f"tokens of {model.endpoint.model_id!r}" if model.HasField("endpoint") else f"an hour of {device!r}"
        for work, model in parts
        if price_of(work, model, device, prices) is None
    ]
    if missing:
        return None, [f"The price table of {day} has no price for {listed(missing)}."]
    price = price_of_parts(parts, device, prices)
    assert price is not None, "every part has one"
    units = [
        f"tokens of {model.endpoint.model_id!r}" if model.HasField("endpoint") else f"seconds of {device!r}"
        for _, model in parts
    ]
    return money(price, prices), [f"Prices of {day}, by {listed(units)}."]


async def engine_device(client: AsyncClient, patience: Patience) -> str:
    """The name by which the table has a price of its hour."""
    request = inference_pb2.GetEngineRequest()
    engine = await patience.ask(lambda: client.stubs.inference.GetEngine(request))
    device: str = engine.environment.device
    return device


def listed(words: Sequence[str]) -> str:
    """Each once."""
    return " and ".join(dict.fromkeys(words))
