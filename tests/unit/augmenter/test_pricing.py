"""What work is in money, and the sentence about it."""

from types import SimpleNamespace
from typing import Any

from ingrain.v1 import common_pb2, inference_pb2, studies_pb2, trainer_pb2
from servicekit.prices import parts_of
from services.augmenter.pricing import priced

TABLE = studies_pb2.PriceTable(
    effective_date="2026-11-01",
    currency_code="EUR",
    device_hours={"cpu": "3.60"},
    tokens={"large-2": studies_pb2.TokenPrice(prompt="2", generated="10")},
)
OWN, FAR = trainer_pb2.Model(), trainer_pb2.Model(endpoint=trainer_pb2.Endpoint(model_id="large-2"))
COST = common_pb2.Cost(compute_seconds=12, prompt_token_count=1_000_000)
JUDGED = common_pb2.Cost(compute_seconds=2, prompt_token_count=250_000, generated_token_count=10_000)


class Inference:
    def __init__(self, device: str) -> None:
        self.device = device
        self.asked = 0

    async def GetEngine(self, request: Any) -> inference_pb2.Engine:
        self.asked += 1
        return inference_pb2.Engine(environment=common_pb2.Environment(device=self.device))


async def price(
    judge: trainer_pb2.Model | None,
    table: studies_pb2.PriceTable = TABLE,
    model: trainer_pb2.Model = OWN,
    device: str = "cpu",
) -> tuple[str, str, int]:
    """The amount, the notes and how often the engine was asked."""
    inference = Inference(device)
    client: Any = SimpleNamespace(stubs=SimpleNamespace(inference=inference))
    parts = parts_of(COST, model, JUDGED if judge else None, judge)
    found, notes = await priced(client, parts, table)
    return found.amount if found else "", " ".join(notes), inference.asked


async def test_each_model_has_its_own_price() -> None:
    seconds = "Prices of 2026-11-01, by seconds of 'cpu'"
    assert await price(None) == ("0.012", f"{seconds}.", 1)
    assert await price(OWN) == ("0.012", f"{seconds}.", 1)
    # 10 s of the device; 250,000 tokens read and 10,000 written.
    assert await price(FAR) == ("0.61", f"{seconds} and tokens of 'large-2'.", 1)


async def test_nobody_is_asked_for_a_device_that_no_price_needs() -> None:
    assert await price(None, model=FAR) == ("2.00", "Prices of 2026-11-01, by tokens of 'large-2'.", 0)
    assert await price(FAR, studies_pb2.PriceTable()) == ("", "", 0)


async def test_where_one_has_no_price_there_is_none_and_a_note_says_whose() -> None:
    unknown = trainer_pb2.Model(endpoint=trainer_pb2.Endpoint(model_id="x"))
    said = "The price table of 2026-11-01 has no price for"
    assert await price(unknown) == ("", f"{said} tokens of 'x'.", 1)
    assert await price(unknown, device="tpu") == ("", f"{said} an hour of 'tpu' and tokens of 'x'.", 1)
