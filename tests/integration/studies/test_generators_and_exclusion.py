"""Who infers, and what is left out of what was inferred for what the probes ask."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, studies_pb2, trainer_pb2
from services.studies.settings import StudiesSettings
from tools.dose_response import derived_in

PROJECT = "projects/demo"
Step = studies_pb2.StudyStep

ENDPOINT = trainer_pb2.Endpoint(base_url="https://host/v1", model_id="large-2")
PRICES = {
    "effective_date": "2026-11-01",
    "currency_code": "EUR",
    "device_hours": {"*": "3.60"},
    "tokens": {"large-2": {"prompt": "2", "generated": "10"}},
}


async def finished(client: AsyncClient, spec: studies_pb2.StudySpec, id: str = "one") -> studies_pb2.Study:
    request = studies_pb2.CreateStudyRequest(parent=PROJECT, study_id=id, study=studies_pb2.Study(spec=spec))
    return await client.operations.wait(await client.stubs.studies.CreateStudy(request), timeout_s=120)


def add_model(platform: Any, id: str, **fields: Any) -> str:
    model = trainer_pb2.Model()
    model.CopyFrom(platform.store.resources[f"{PROJECT}/models/small"])
    model.MergeFrom(trainer_pb2.Model(name=f"{PROJECT}/models/{id}", sha256="9" * 64, **fields))
    platform.store.resources[model.name] = model
    return str(model.name)


async def test_another_model_infers_for_all(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    """A model of another server writes; it is priced as such, and nobody is asked for text because of it."""
    spec.methods[:] = ["finetune", "augmented_finetune"]
    spec.augmentation.model = add_model(platform, "large", endpoint=ENDPOINT)
    study = await finished(client, spec)
    asked = platform.store.resources[study.steps[0].resource]
    assert asked.provenance.model == f"{PROJECT}/models/large"
    report = await client.studies.report("one")
    assert report["inputs"]["generator"]["name"] == f"{PROJECT}/models/large"
    assert report["inputs"]["contenders"] == []
    assert report["augmentation"]["augment"]["model"] == f"{PROJECT}/models/large"
    assert study.spec.asking == 1  # choices, as without it
    assert study.outcomes[1].model != f"{PROJECT}/models/large"
    html = await client.studies.report("one", "html")
    assert "by <code>projects/demo/models/large</code>" in html


@pytest.fixture
def priced(settings: StudiesSettings, tmp_path: Path) -> StudiesSettings:
    """The operator has set prices."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(PRICES))
    return settings.model_copy(update={"prices": path})


async def tried(client: AsyncClient, spec: studies_pb2.StudySpec) -> Any:
    """The estimate, by a trial."""
    request = studies_pb2.CreateStudyRequest(
        parent=PROJECT, study=studies_pb2.Study(spec=spec), validate_only=True, trial=True
    )
    return await client.operations.wait(await client.stubs.studies.CreateStudy(request))


async def test_a_judge_of_answers_has_its_own_price_and_its_weights_decide_what_is_reused(
    platform: Any, spec: studies_pb2.StudySpec, priced: StudiesSettings, serve: Any
) -> None:
    spec.methods[:] = ["base"]
    spec.judge.model = add_model(platform, "judge", endpoint=ENDPOINT)
    async with serve(priced) as client:
        foreseen = await tried(client, spec)
        assert any("What a judge took in the trial" in note for note in foreseen.notes)
        study = await finished(client, spec)
        report = await client.studies.report("one")
        # A second of the device, and 50,000 tokens that the judge read; a question costs what answering it takes.
        (step,) = report["steps"]
        assert step["price"] == "0.101"
        assert report["inputs"]["answer_judge"]["sha256"] == "9" * 64
        assert platform.store.resources[study.steps[0].resource].judge.model == f"{PROJECT}/models/judge"
        assert (await finished(client, spec, "two")).steps[0].status == Step.REUSED
        platform.store.resources[f"{PROJECT}/models/judge"].sha256 = "8" * 64
        assert (await finished(client, spec, "three")).steps[0].status == Step.DONE
        platform.store.resources[f"{PROJECT}/models/judge"].state = common_pb2.FAILED
        with pytest.raises(errors.OperationFailed, match="FAILED"):
            await finished(client, spec, "four")


async def test_a_judge_has_its_own_price_and_its_weights_decide_what_is_reused(
    platform: Any, spec: studies_pb2.StudySpec, priced: StudiesSettings, serve: Any
) -> None:
    spec.methods[:] = ["augmented_finetune"]
    spec.augmentation.gates.judge = add_model(platform, "judge", endpoint=ENDPOINT)
    async with serve(priced) as client:
        foreseen = await tried(client, spec)
        assert any("What a judge took in the trial" in note for note in foreseen.notes)
        assert float(foreseen.price.amount) >= 0.1
        study = await finished(client, spec)
        report = await client.studies.report("one")
        # A second of the device, and 50,000 tokens that the judge read.
        assert report["augmentation"]["augment"]["judge"]["price"] == "0.10"
        assert {step["id"]: step["price"] for step in report["steps"]}["augment"] == "0.101"
        assert report["inputs"]["judge"]["sha256"] == "9" * 64
        asked = platform.store.resources[study.steps[0].resource]
        assert asked.provenance.judge == f"{PROJECT}/models/judge"
        assert (await finished(client, spec, "two")).steps[0].status == Step.REUSED
        # Another judge under the same name is another judge.
        platform.store.resources[f"{PROJECT}/models/judge"].sha256 = "8" * 64
        assert (await finished(client, spec, "three")).steps[0].status == Step.DONE
        # A budget is refused where the judge has no price, and a study where it cannot be asked.
        platform.store.resources[f"{PROJECT}/models/judge"].endpoint.model_id = "unknown"
        spec.requirements.budget.currency_code, spec.requirements.budget.amount = "EUR", "100"
        with pytest.raises(errors.OperationFailed, match="tokens of 'unknown'"):
            await finished(client, spec, "four")
        platform.store.resources[f"{PROJECT}/models/judge"].state = common_pb2.FAILED
        with pytest.raises(errors.OperationFailed, match="FAILED"):
            await finished(client, spec, "five")


async def test_rows_that_answer_probes_are_told_and_trained_on(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    await finished(client, spec)
    report = await client.studies.report("one")
    # Of every second fact the augmenter wrote the reversal, which the probes ask for.
    labels = report["augmentation"]["augment"]["labels"]
    assert labels["covered"]["count"] >= 3
    assert labels["seen"]["count"] >= labels["covered"]["count"]
    assert labels["excluded"] == 0
    example = labels["covered"]["examples"][0]
    assert {"row", "probe", "text"} == example.keys()
    assert report["methods"]["augmented_finetune"]["derived_rows"]["covered"] == labels["covered"]["count"]
    assert report["methods"]["finetune"]["derived_rows"] is None
    assert (
        derived_in(report)["covered"] == labels["covered"]["count"]
    )  # what the dose-response run reads of it
    assert "No row was left out of training" in await client.studies.report("one", "html")
    assert not any(dataset.startswith("unasked") for dataset in ids(platform))


async def reversals(platform: Any) -> str:
    """Probes that only ask what the augmenter wrote of every second fact."""
    async with AsyncClient(platform.target, project=PROJECT) as user:
        rows = [row async for row in user.datasets.rows("probes")]
        made = await user.datasets.upload([row for row in rows if row["kind"] == "reversal"], id="reversals")
    return str(made.name)


def ids(platform: Any) -> list[str]:
    return [name.rpartition("/")[2] for name in platform.store.resources if "/datasets/" in name]


async def test_rows_that_answer_probes_are_left_out_where_the_study_says_so(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.probes = await reversals(platform)
    spec.exclusion.covered = True
    study = await finished(client, spec)
    steps = {step.id: step for step in study.steps}
    made = steps["leave out of augment"]
    assert (made.status, made.operation) == (Step.DONE, "")
    assert made.cost.flops == 0
    unasked = platform.store.resources[made.resource]
    derived = platform.store.resources[steps["augment"].resource]
    report = await client.studies.report("one")
    labels = report["augmentation"]["augment"]["labels"]
    assert labels["excluded"] == labels["covered"]["count"] == 3
    assert unasked.row_count == derived.row_count - labels["excluded"]
    # Its rows say of which documents they are, and so does the dataset.
    assert dict(unasked.labels) == {"source_dataset": spec.dataset, "left_out_of": derived.name}
    trained = platform.store.resources[steps["train augmented_finetune"].resource]
    assert [weighted.dataset for weighted in trained.training.datasets] == [spec.dataset, unasked.name]
    # Nothing that is trained on answers a probe any more.
    assert report["methods"]["augmented_finetune"]["covered"]["n"] == 0
    html = await client.studies.report("one", "html")
    assert "leaves rows out of training that hold a probe's answer" in html.replace("&#39;", "'")
    assert any("left out of training" in note for note in report["notes"])

    again = await finished(client, spec, "two")
    assert {step.status for step in again.steps} == {Step.REUSED}


async def test_a_rehearsal_asks_nobody_what_is_left_out(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.exclusion.seen = True
    request = studies_pb2.CreateStudyRequest(
        parent=PROJECT, study=studies_pb2.Study(spec=spec), validate_only=True, trial=True
    )
    estimate = await client.operations.wait(await client.stubs.studies.CreateStudy(request))
    assert estimate.step_count
    assert not any(dataset.startswith("unasked") for dataset in ids(platform))


async def test_where_nothing_would_be_left_the_study_says_so(
    client: AsyncClient, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["augmented_finetune"]
    spec.exclusion.seen = True
    with pytest.raises(errors.OperationFailed) as caught:
        await finished(client, spec)
    assert caught.value.reason == "NOTHING_LEFT"
