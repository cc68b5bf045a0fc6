"""Whole studies over real sockets, against a platform in memory."""

import asyncio
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, studies_pb2
from servicekit.database import Database
from servicekit.storage import open_storage
from services.studies.records import Records, StoredReport
from services.studies.settings import StudiesSettings

PROJECT = "projects/demo"
Step = studies_pb2.StudyStep
STEPS = [
    "augment",
    "train finetune",
    "train augmented_finetune",
    *(f"evaluate {m}" for m in ("base", "icl", "finetune", "augmented_finetune")),
]
ONCE_EACH = ["AugmentDataset"] + 4 * ["CreateEvaluation"] + 2 * ["CreateModel"]


def request(spec: studies_pb2.StudySpec, id: str, **values: Any) -> studies_pb2.CreateStudyRequest:
    return studies_pb2.CreateStudyRequest(
        parent=PROJECT, study_id=id, study=studies_pb2.Study(spec=spec), **values
    )


async def run_study(client: AsyncClient, spec: studies_pb2.StudySpec, id: str) -> studies_pb2.Study:
    operation = await client.stubs.studies.CreateStudy(request(spec, id))
    return await client.operations.wait(operation, timeout_s=60)


async def test_a_whole_study(client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec) -> None:
    study = await run_study(client, spec, "one")
    assert study.state == common_pb2.ACTIVE
    assert [step.id for step in study.steps] == STEPS
    assert {step.status for step in study.steps} == {Step.DONE}
    assert all(step.fingerprint and step.operation and step.cost.flops for step in study.steps)
    assert sorted(platform.created) == ONCE_EACH
    assert [outcome.method for outcome in study.outcomes] == ["base", "icl", "finetune", "augmented_finetune"]

    report = await client.studies.report("one")
    accuracy = {m: {k: v["accuracy"] for k, v in r["kinds"].items()} for m, r in report["methods"].items()}
    assert accuracy["icl"]["forward"] == accuracy["finetune"]["forward"] == 1
    assert accuracy["augmented_finetune"]["reversal"] > accuracy["finetune"]["reversal"] - 1
    augmented = report["methods"]["augmented_finetune"]
    # Every second fact of each of the two worlds was reversed by the augmenter.
    assert augmented["covered"]["kinds"]["reversal"]["n"] == 3
    assert augmented["covered"]["n"] + augmented["uncovered"]["n"] == 12
    assert augmented["cost"]["build"]["flops"] == pytest.approx(2e12 + 5e9)
    assert report["methods"]["finetune"]["cost"]["build"]["flops"] == pytest.approx(2e12)
    assert report["methods"]["base"]["cost"]["question"]["flops"] == pytest.approx(1e9 / 12)
    assert report["methods"]["icl"]["cost"]["build"]["flops"] == pytest.approx(2 * 7e7)
    assert report["break_even"]["methods"]["finetune"]["warm"] == study.outcomes[2].break_even_question_count
    assert report["inputs"]["context_token_count"]["total"] == 30
    assert report["recommendation"]["method"] == study.recommendation.method
    pairs = {(d["baseline"], d["candidate"]) for d in report["differences"]}
    assert pairs == {
        ("base", "icl"),
        ("base", "finetune"),
        ("base", "augmented_finetune"),
        ("icl", "finetune"),
        ("icl", "augmented_finetune"),
        ("finetune", "augmented_finetune"),
    }
    assert (await client.studies.report("one", "html")).startswith("<!doctype html>")
    assert (await client.studies.report("one", "markdown")).startswith("# ")


async def test_trainings_get_equal_steps_and_their_data(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    await run_study(client, spec, "one")
    trained = [r for name, r in platform.store.resources.items() if "/models/" in name and r.base_model]
    data = {tuple(d.dataset.rsplit("/", 1)[1].split("-")[0] for d in m.training.datasets): m for m in trained}
    assert set(data) == {("documents",), ("documents", "augmented")}
    assert {(m.training.max_steps, m.training.seed, m.base_model) for m in trained} == {
        (40, 3, f"{PROJECT}/models/small")
    }


async def test_a_second_study_reuses_every_step(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    first = await run_study(client, spec, "one")
    made = list(platform.created)
    second = await run_study(client, spec, "two")
    assert platform.created == made
    assert {step.status for step in second.steps} == {Step.REUSED}
    for outcome in [*first.outcomes, *second.outcomes]:
        outcome.latency_p95_seconds = 0  # measured again
    assert list(second.outcomes) == list(first.outcomes)
    assert [s.cost for s in second.steps] == [s.cost for s in first.steps]


async def test_only_what_changed_is_done_again(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    await run_study(client, spec, "one")
    del platform.created[:]
    spec.training.max_steps = 50
    changed = await run_study(client, spec, "two")
    reused = [step.id for step in changed.steps if step.status == Step.REUSED]
    assert reused == ["augment", "evaluate base", "evaluate icl"]
    assert sorted(platform.created) == 2 * ["CreateEvaluation"] + 2 * ["CreateModel"]


async def test_two_studies_at_once_share_their_steps(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    one, two = await asyncio.gather(run_study(client, spec, "one"), run_study(client, spec, "two"))
    assert sorted(platform.created) == ONCE_EACH
    assert [o.kinds for o in one.outcomes] == [o.kinds for o in two.outcomes]


async def test_the_control_is_made_and_never_recommended(
    client: AsyncClient, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["finetune", "shuffled_finetune"]
    study = await run_study(client, spec, "control")
    assert [step.id for step in study.steps][:3] == [
        "augment shuffled",
        "train finetune",
        "train shuffled_finetune",
    ]
    assert study.recommendation.method == "finetune"


async def test_events_have_no_gaps_and_stay(client: AsyncClient, spec: studies_pb2.StudySpec) -> None:
    watched = asyncio.create_task(_collect(client, "one", wait_for_it=True))
    await run_study(client, spec, "one")
    live = await asyncio.wait_for(watched, 10)
    assert [event.sequence for event in live] == list(range(1, len(live) + 1))
    for id in STEPS:
        statuses = [event.step.status for event in live if event.step.id == id and not event.progress.stage]
        assert statuses == [Step.RUNNING, Step.DONE]
    assert [e async for e in client.studies.watch("one")] == live
    assert [e async for e in client.studies.watch("one", start_sequence=5)] == live[4:]


async def _collect(client: AsyncClient, id: str, wait_for_it: bool) -> list[studies_pb2.StudyEvent]:
    while wait_for_it:
        try:
            await client.studies.get(id)
            break
        except errors.NotFound:
            await asyncio.sleep(0.01)
    return [event async for event in client.studies.watch(id)]


async def test_progress_of_a_long_step_is_told_where_it_changed(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(2.2)  # the client looks once a second: twice at the same progress
    spec.methods[:] = ["base"]
    await run_study(client, spec, "slow")
    told = [e for e in [e async for e in client.studies.watch("slow")] if e.progress.stage]
    assert all((e.step.id, e.progress.stage) == ("evaluate base", "asking") for e in told)
    counts = [e.progress.completed_count for e in told]
    assert counts in ([1], [1, 2])


async def test_a_long_history_is_sent_whole(
    client: AsyncClient, settings: StudiesSettings, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["base"]
    await run_study(client, spec, "one")
    database = Database(settings.database_url)
    records, event = Records(database), studies_pb2.StudyEvent(message="so it was")
    for _ in range(450):
        await database.run(
            lambda connection: records.add_event_in(connection, f"{PROJECT}/studies/one", event)
        )
    await database.close()
    told = [e async for e in client.studies.watch("one", start_sequence=10)]
    assert [e.sequence for e in told] == list(range(10, told[-1].sequence + 1))
    assert len(told) > 440


async def test_a_report_is_not_ready_while_the_study_runs(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(0.3)
    operation = await client.stubs.studies.CreateStudy(request(spec, "one"))
    with pytest.raises(errors.WrongState) as caught:
        await client.studies.report("one")
    assert caught.value.reason == "REPORT_NOT_READY"
    with pytest.raises(errors.WrongState) as caught:
        await client.studies.delete("one")
    assert caught.value.reason == "STUDY_RUNNING"
    await client.operations.cancel(operation.name)
    with pytest.raises(errors.OperationCancelled):
        await client.operations.wait(operation, timeout_s=20)


async def test_validate_only_gives_the_sum_of_the_estimates(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    operation = await client.stubs.studies.CreateStudy(request(spec, "one", validate_only=True))
    estimate = await client.operations.wait(operation)
    assert (estimate.step_count, estimate.row_count) == (80, 18)
    assert platform.created == []
    with pytest.raises(errors.NotFound):
        await client.studies.get("one")


async def test_the_same_request_id_gives_the_same_study(
    client: AsyncClient, spec: studies_pb2.StudySpec
) -> None:
    id = "3f2b9c1e-7c1d-4a52-9f5e-0d6b1a2c3d4e"
    first, second = [
        await client.stubs.studies.CreateStudy(request(spec, "one", request_id=id)) for _ in range(2)
    ]
    assert first.name == second.name
    await client.operations.wait(first, timeout_s=60)
    assert len([s async for s in client.studies.list()]) == 1
    await client.studies.delete("one")
    assert [s async for s in client.studies.list()] == []


async def test_a_form_too_large_for_a_message_is_refused_and_the_others_are_not(
    client: AsyncClient, spec: studies_pb2.StudySpec, settings: StudiesSettings
) -> None:
    study = await run_study(client, spec, "one")
    database, storage = Database(settings.database_url, schema="studies"), open_storage(settings)
    records = Records(database)

    async def make_json_as_large_as(size: int) -> None:
        key = f"{study.name}/made/report-{size}.json"
        stored = await storage.put(key, b'"' + b"x" * (size - 2) + b'"')
        await records.set_report(study.name, "json", StoredReport(key, stored.sha256))

    await make_json_as_large_as((3 << 20) - 1)
    assert len(await client.studies.report("one")) == (3 << 20) - 3
    await make_json_as_large_as(3 << 20)
    with pytest.raises(errors.Exhausted, match="MARKDOWN or HTML") as caught:
        await client.studies.report("one")
    assert caught.value.reason == "REPORT_TOO_LARGE"
    assert caught.value.metadata["size_bytes"] == str(3 << 20)
    assert caught.value.retry_after_s is None
    assert "# " in await client.studies.report("one", "markdown")
    await database.close()


async def test_a_watcher_hears_a_heartbeat_while_nothing_happens(
    serve: Any, settings: StudiesSettings, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(1.0)
    spec.methods[:] = ["base"]
    async with serve(settings.model_copy(update={"heartbeat_s": 0.2})) as client:
        operation = await client.stubs.studies.CreateStudy(request(spec, "one"))
        watch = studies_pb2.WatchStudyRequest(name=f"{PROJECT}/studies/one")
        events = [event async for event in client.stubs.studies.WatchStudy(watch)]
        assert (await client.operations.wait(operation)).state == common_pb2.ACTIVE
        assert events.count(studies_pb2.StudyEvent()) >= 2
        numbered = [event.sequence for event in events if event.sequence]
        assert numbered == list(range(1, len(numbered) + 1))
        assert [e.sequence async for e in client.studies.watch("one")] == numbered
