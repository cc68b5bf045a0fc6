"""Studies of all methods, several models, several trainings, with prices, limits and what must not be lost."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from services.studies.methods import METHODS
from services.studies.settings import StudiesSettings

PROJECT = "projects/demo"
Step = studies_pb2.StudyStep


async def finished(client: AsyncClient, spec: studies_pb2.StudySpec, id: str = "one") -> studies_pb2.Study:
    request = studies_pb2.CreateStudyRequest(parent=PROJECT, study_id=id, study=studies_pb2.Study(spec=spec))
    return await client.operations.wait(await client.stubs.studies.CreateStudy(request), timeout_s=120)


async def refused(client: AsyncClient, spec: studies_pb2.StudySpec, id: str = "one") -> errors.IngrainError:
    with pytest.raises(errors.IngrainError) as caught:
        await finished(client, spec, id)
    return caught.value


def add_model(platform: Any, id: str, **fields: Any) -> str:
    model = trainer_pb2.Model()
    model.CopyFrom(platform.store.resources[f"{PROJECT}/models/small"])
    model.MergeFrom(trainer_pb2.Model(name=f"{PROJECT}/models/{id}", sha256="9" * 64, **fields))
    platform.store.resources[model.name] = model
    return model.name


def evaluations(platform: Any) -> dict[str, evaluator_pb2.Evaluation]:
    return {name: r for name, r in platform.store.resources.items() if "/evaluations/" in name}


def datasets(platform: Any) -> list[Any]:
    return [resource for name, resource in platform.store.resources.items() if "/datasets/" in name]


async def test_every_method_in_one_study(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = METHODS
    study = await finished(client, spec)
    assert [outcome.method for outcome in study.outcomes] == list(METHODS)
    made = [step.id for step in study.steps if not step.id.startswith("evaluate ")]
    assert made == [
        "augment",
        "augment local",
        "augment global",
        "augment shuffled",
        "train finetune",
        "train augmented_finetune",
        "train augmented_finetune_local",
        "train augmented_finetune_global",
        "train shuffled_finetune",
    ]
    outcomes = {outcome.method: outcome for outcome in study.outcomes}
    assert outcomes["finetune_icl"].model == outcomes["finetune"].model
    assert outcomes["augmented_finetune_icl"].model == outcomes["augmented_finetune"].model
    contexts = {e.subject.context.SerializeToString() for e in evaluations(platform).values()}
    assert len(contexts) == 5  # none, all, a part, documents found, passages found
    subset = next(e for e in evaluations(platform).values() if e.subject.context.HasField("subset"))
    assert (subset.subject.context.subset.share, subset.subject.context.subset.seed) == (0.25, 3)
    derived = {r.name.rpartition("/")[2].rpartition("-")[0] for r in datasets(platform)}
    assert {"augmented", "augmented-local", "augmented-global", "shuffled"} <= derived
    report = await client.studies.report("one")
    assert len(report["comparisons"]) == 55  # all pairs of the eleven that somebody would use
    assert all(entry["latency"]["n"] for name, entry in report["methods"].items() if not entry["control"])
    assert (await client.studies.report("one", "html")).startswith("<!doctype html>")


async def test_several_trainings_count_as_one_method(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["base", "finetune"]
    spec.training_seeds[:] = [5, 6, 7]
    study = await finished(client, spec)
    assert [s.id for s in study.steps if s.id.startswith("train")] == [
        "train finetune",
        "train finetune seed 2",
        "train finetune seed 3",
    ]
    trained = [r for name, r in platform.store.resources.items() if "/models/" in name and r.base_model]
    assert sorted(model.training.seed for model in trained) == [5, 6, 7]
    entry = (await client.studies.report("one"))["methods"]["finetune"]
    assert [one["seed"] for one in entry["seeds"]] == [5, 6, 7]
    assert entry["model"] == entry["seeds"][0]["model"] == study.outcomes[1].model
    assert entry["cost"]["build"]["flops"] == pytest.approx(2e12)  # of one of them


async def test_matched_tokens_instead_of_steps(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["finetune", "augmented_finetune"]
    spec.matching = studies_pb2.TOKENS
    await finished(client, spec)
    trained = [r for name, r in platform.store.resources.items() if "/models/" in name and r.base_model]
    assert {(m.training.max_steps, m.training.max_tokens) for m in trained} == {(0, 40 * 4 * 256)}


async def test_another_model_with_the_documents_in_its_context(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["base", "finetune"]
    spec.contenders.add(model=add_model(platform, "large"))
    spec.contenders.add(model=add_model(platform, "other"), methods=["augmented_finetune"])
    study = await finished(client, spec)
    names = [outcome.method for outcome in study.outcomes]
    assert names == ["base", "finetune", "icl@large", "augmented_finetune@other"]
    assert study.outcomes[2].model == f"{PROJECT}/models/large"
    steps = [step.id for step in study.steps]
    assert {"augment@other", "train augmented_finetune@other"} <= set(steps)
    trained = platform.store.resources[study.outcomes[3].model]
    assert trained.base_model == f"{PROJECT}/models/other"


def endpoint() -> trainer_pb2.Endpoint:
    return trainer_pb2.Endpoint(base_url="https://host/v1", model_id="large-2")


async def test_a_model_of_another_server_is_asked_for_text_and_so_is_everyone(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["base", "icl"]
    spec.contenders.add(model=add_model(platform, "far", endpoint=endpoint()))
    study = await finished(client, spec)
    assert {e.asking for e in evaluations(platform).values()} == {evaluator_pb2.Evaluation.GENERATION}
    assert study.recommendation.method != "icl@far"  # it has no price
    report = await client.studies.report("one")
    assert report["methods"]["icl@far"]["cost"]["total_flops"] is None
    assert any("gives no log-likelihoods" in note for note in report["notes"])


async def test_a_model_of_another_server_cannot_be_trained(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.contenders.add(model=add_model(platform, "far", endpoint=endpoint()), methods=["finetune"])
    error = await refused(client, spec)
    assert error.reason == "MODEL_CANNOT_BE_TRAINED"
    assert platform.created == []


async def test_what_is_lost_stands_beside_what_is_gained(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["icl", "finetune", "shuffled_finetune"]
    spec.retention.probes = spec.probes
    spec.retention.context, spec.retention.context_probes = spec.dataset, spec.probes
    spec.retention.group_key = "world"
    study = await finished(client, spec)
    kept = [step.id for step in study.steps if step.id.startswith("retain")]
    assert kept == [
        "retain probes of base",
        "retain context of base",
        "retain probes of finetune",
        "retain context of finetune",
    ]
    rows = {row["weights"]: row for row in (await client.studies.report("one"))["retention"]}
    assert set(rows) == {"base", "finetune"}
    assert rows["base"]["probes"]["difference"] is None
    assert rows["finetune"]["probes"]["difference"]["value"] == pytest.approx(
        rows["finetune"]["probes"]["accuracy"] - rows["base"]["probes"]["accuracy"]
    )
    assert rows["finetune"]["bits_per_byte"] is None


async def test_half_of_a_retention_is_refused(client: AsyncClient, spec: studies_pb2.StudySpec) -> None:
    spec.retention.context = spec.dataset
    assert (await refused(client, spec)).reason == "RETENTION_INCOMPLETE"


@pytest.fixture
def settings(settings: StudiesSettings, tmp_path: Path) -> StudiesSettings:
    """With prices."""
    prices = tmp_path / "prices.json"
    prices.write_text(
        json.dumps(
            {
                "effective_date": "2026-11-01",
                "currency_code": "EUR",
                "device_hours": {"cpu": "3600", "*": "9999"},
                "source": "a list",
            }
        )
    )
    return settings.model_copy(update={"prices": prices})


async def test_one_bill_in_money(client: AsyncClient, spec: studies_pb2.StudySpec) -> None:
    """The fake's steps take a second each; a second costs 1 EUR."""
    spec.requirements.questions_per_month = 100
    study = await finished(client, spec)
    outcomes = {outcome.method: outcome for outcome in study.outcomes}
    assert outcomes["finetune"].build_price == common_pb2.Money(currency_code="EUR", amount="1.00")
    assert outcomes["augmented_finetune"].build_price.amount == "2.00"
    assert outcomes["icl"].build_price.amount == "2.00"  # two worlds
    assert float(outcomes["base"].thousand_questions_price.amount) == pytest.approx(1000 / 12)
    report = await client.studies.report("one")
    assert report["recommendation"]["unit"] == "EUR"
    assert report["inputs"]["question_count"] == 1200
    assert report["methods"]["finetune"]["cost"]["total_price"] == "101.00"
    assert report["prices"]["effective_date"] == "2026-11-01"
    assert (await client.stubs.studies.GetPriceTable(studies_pb2.GetPriceTableRequest())).source == "a list"


async def test_a_budget_leaves_out_who_is_dearer(client: AsyncClient, spec: studies_pb2.StudySpec) -> None:
    spec.methods[:] = ["base", "augmented_finetune"]
    spec.requirements.questions_per_month = 1
    spec.requirements.budget.CopyFrom(common_pb2.Money(currency_code="EUR", amount="2.50"))
    study = await finished(client, spec)
    assert study.recommendation.method == "base"
    assert "augmented_finetune is left out: 3.00 EUR are more than the budget" in study.recommendation.reason


async def test_where_nobody_keeps_to_the_limits_nobody_is_recommended(
    client: AsyncClient, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["base", "icl"]
    spec.requirements.latency_seconds = 1e-9
    study = await finished(client, spec)
    assert (study.recommendation.method, study.recommendation.model) == ("", "")
    report = await client.studies.report("one")
    assert set(report["recommendation"]["excluded"]) == {"base", "icl"}
    assert "Recommendation: none" in await client.studies.report("one", "html")


async def test_a_budget_in_another_currency_is_refused(
    client: AsyncClient, spec: studies_pb2.StudySpec
) -> None:
    spec.requirements.budget.CopyFrom(common_pb2.Money(currency_code="USD", amount="2.50"))
    assert (await refused(client, spec)).reason == "BUDGET_WITHOUT_PRICES"


async def test_the_winner_says_what_is_in_its_context(
    client: AsyncClient, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["icl"]
    recommended = (await finished(client, spec)).recommendation
    assert recommended.context.dataset == spec.dataset
    assert (recommended.context.group_key, recommended.context.distinct_key) == ("world", "fact")
    assert recommended.confidence == 1


async def test_the_old_verdict_stands_beside_the_new(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    first = await finished(client, spec)
    async with AsyncClient(platform.target, project=PROJECT) as user:
        rows = [row async for row in user.datasets.rows(spec.dataset)]
        rows[0]["text"] = rows[0]["text"].replace("fen", "gen")
        await user.datasets.upload(rows, id="changed", kind="documents")
    spec.dataset, spec.previous_study = f"{PROJECT}/datasets/changed", first.name
    await finished(client, spec, "two")
    report = await client.studies.report("two")
    assert report["previous"]["study"] == first.name
    assert report["previous"]["method"] == first.recommendation.method
    assert report["previous"]["accuracies"].keys() == report["methods"].keys()
    assert report["reuse"]["steps"] == 7
    assert report["reuse"]["steps_reused"] == 1  # base has not read the documents
    spec.previous_study = f"{PROJECT}/studies/nothing"
    assert (await refused(client, spec, "three")).reason == "NO_PREVIOUS_REPORT"
    told = [event.message async for event in client.studies.watch("two")]
    assert any(message.startswith("6 of 7 steps done anew") for message in told)


async def test_a_paused_study_begins_nothing_and_goes_on_when_resumed(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(0.3)
    request = studies_pb2.CreateStudyRequest(
        parent=PROJECT, study_id="one", study=studies_pb2.Study(spec=spec)
    )
    operation = await client.stubs.studies.CreateStudy(request)
    while not platform.created:
        await asyncio.sleep(0.02)
    name = f"{PROJECT}/studies/one"
    assert (await client.stubs.studies.PauseStudy(studies_pb2.PauseStudyRequest(name=name))).paused
    await asyncio.sleep(1.5)
    begun = list(platform.created)
    assert 0 < len(begun) < 7
    await asyncio.sleep(1.0)
    assert platform.created == begun
    assert (await client.studies.get("one")).state == common_pb2.CREATING
    platform.slow(0.02)
    await client.stubs.studies.ResumeStudy(studies_pb2.ResumeStudyRequest(name=name))
    study = await client.operations.wait(operation, timeout_s=60)
    assert (study.state, study.paused) == (common_pb2.ACTIVE, False)
    assert len(platform.created) == 7
    assert any("Paused" in event.message for event in [e async for e in client.studies.watch("one")])
    with pytest.raises(errors.WrongState) as caught:
        await client.stubs.studies.PauseStudy(studies_pb2.PauseStudyRequest(name=name))
    assert caught.value.reason == "STUDY_NOT_RUNNING"


async def test_a_paused_study_can_be_cancelled(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(0.3)
    request = studies_pb2.CreateStudyRequest(
        parent=PROJECT, study_id="one", study=studies_pb2.Study(spec=spec)
    )
    operation = await client.stubs.studies.CreateStudy(request)
    name = f"{PROJECT}/studies/one"
    await client.stubs.studies.PauseStudy(studies_pb2.PauseStudyRequest(name=name))
    await asyncio.sleep(1.0)
    await client.operations.cancel(operation.name)
    with pytest.raises(errors.OperationCancelled):
        await client.operations.wait(operation, timeout_s=20)


async def test_a_trial_measures_and_is_kept(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    """Each of the fake's steps takes a second, whatever it is of."""
    spec.retention.probes = spec.probes
    request = studies_pb2.CreateStudyRequest(
        parent=PROJECT, study=studies_pb2.Study(spec=spec), validate_only=True, trial=True
    )
    quick = studies_pb2.CreateStudyRequest()
    quick.CopyFrom(request)
    quick.trial = False
    estimate = await client.operations.wait(await client.stubs.studies.CreateStudy(quick))
    assert (estimate.cost.compute_seconds, estimate.price.amount, platform.created) == (0, "", [])

    estimate = await client.operations.wait(await client.stubs.studies.CreateStudy(request))
    # One augmentation; trainings of 6 and 24 steps; with and without context, and what is kept.
    assert sorted(platform.created) == ["AugmentDataset"] + 3 * ["CreateEvaluation"] + 2 * ["CreateModel"]
    steps = 1 + 2 + 4 + 3  # augment, trainings, evaluations, retained before and after
    assert estimate.cost.compute_seconds == pytest.approx(steps + 2.0)  # and two contexts of 15 tokens
    assert float(estimate.price.amount) == pytest.approx(steps + 2.0)
    assert any("were tried" in note for note in estimate.notes)

    made = list(platform.created)
    again = await client.operations.wait(await client.stubs.studies.CreateStudy(request))
    assert again == estimate
    assert platform.created == made


async def test_contexts_that_are_gone_are_read_again_to_time_answers(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.inference.forgets = True
    spec.methods[:] = ["base", "icl", "rag"]
    await finished(client, spec)
    methods = (await client.studies.report("one"))["methods"]
    assert {entry["latency"]["n"] for entry in methods.values()} == {12}
    assert len(platform.inference.contexts) == 4  # two ways of reading, two worlds
    assert set(platform.inference.contexts) <= set(platform.inference.asked)
