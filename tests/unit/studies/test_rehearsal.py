"""What an estimate of a whole study adds up, with what a trial measured."""

from ingrain.v1 import augmenter_pb2, common_pb2, datasets_pb2, studies_pb2, trainer_pb2
from services.studies.costs import Amount
from services.studies.plan import JUDGE, Step
from services.studies.preflight import Inputs
from services.studies.rehearsal import with_trial
from services.studies.trial import Trial

PRICES = studies_pb2.PriceTable(
    effective_date="2026-11-01",
    currency_code="EUR",
    device_hours={"cpu": "3.60"},
    tokens={"large-2": studies_pb2.TokenPrice(prompt="2", generated="10")},
)
OWN = trainer_pb2.Model(name="own")
FAR = trainer_pb2.Model(name="far", endpoint=trainer_pb2.Endpoint(model_id="large-2"))
DATASETS = {"documents": datasets_pb2.Dataset(), "probes": datasets_pb2.Dataset()}


def estimate(model: trainer_pb2.Model, judge: trainer_pb2.Model, judged: Amount) -> common_pb2.Estimate:
    """Of one derivation, which is foreseen to read a million tokens; it took 100 s in the trial, the judge's among them."""
    sources = {"documents": "documents", "model": "model", "judge": JUDGE}
    step = Step("augment", "augment", "m", "augmented", sources, augmenter_pb2.AugmentationSpec())
    inputs = Inputs(DATASETS, {"model": model}, [], {}, device="cpu", judge=judge)
    foreseen = common_pb2.Estimate(cost=common_pb2.Cost(prompt_token_count=1_000_000))
    return with_trial(
        [(step, foreseen)], inputs, Trial({"augment": 100.0}, {}, [], {"augment": judged}), PRICES
    )


def test_what_a_judge_takes_has_its_own_price() -> None:
    tokens = Amount(prompt_token_count=100_000, generated_token_count=10_000)
    assert estimate(OWN, FAR, tokens).price.amount == "0.40"  # 100 s, and 0.20 and 0.10 for tokens
    assert estimate(FAR, OWN, Amount(compute_seconds=30)).price.amount == "2.03"
    found = estimate(OWN, OWN, Amount(compute_seconds=30))
    assert (found.price.amount, found.cost.compute_seconds) == ("0.10", 100.0)
    assert any("What a judge took in the trial" in note for note in found.notes)
