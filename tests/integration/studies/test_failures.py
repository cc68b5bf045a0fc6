"""What goes wrong, and what is left: bad input, failing steps, cancelling, crashes at every boundary."""

import asyncio
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, studies_pb2

PROJECT = "projects/demo"
Step = studies_pb2.StudyStep
ONCE_EACH = ["AugmentDataset"] + 4 * ["CreateEvaluation"] + 2 * ["CreateModel"]


async def begin(client: AsyncClient, spec: studies_pb2.StudySpec, id: str = "one") -> str:
    request = studies_pb2.CreateStudyRequest(parent=PROJECT, study_id=id, study=studies_pb2.Study(spec=spec))
    return (await client.stubs.studies.CreateStudy(request)).name


async def refused(client: AsyncClient, spec: studies_pb2.StudySpec) -> errors.OperationFailed:
    with pytest.raises(errors.OperationFailed) as caught:
        await client.operations.wait(await begin(client, spec), timeout_s=60)
    assert (await client.studies.get("one")).state == common_pb2.FAILED
    return caught.value


async def test_an_unknown_method_is_refused_at_once(client: AsyncClient, spec: studies_pb2.StudySpec) -> None:
    spec.methods[:] = ["base", "lora"]
    with pytest.raises(errors.Invalid) as caught:
        await begin(client, spec)
    assert caught.value.reason == "UNKNOWN_METHOD"
    assert caught.value.field_violations[0].field == "study.spec.methods[1]"
    assert "augmented_finetune" in caught.value.message


async def test_documents_that_the_model_cannot_read(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.inference.tokens_per_word = 3
    error = await refused(client, spec)
    assert error.reason == "MODEL_CANNOT_READ_DOCUMENTS"
    assert "--model <folder or hub id>" in error.message
    assert platform.created == []


async def with_another_probe(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec, right: bool
) -> None:
    """The study's probes and the first of them again, with its own answer or with the other one."""
    async with AsyncClient(platform.target, project=PROJECT) as user:
        rows = [row async for row in user.datasets.rows(spec.probes)]
        answer = rows[0]["answer"] if right else next(c for c in rows[0]["choices"] if c != rows[0]["answer"])
        await user.datasets.upload(
            [*rows, {**rows[0], "id": "again", "answer": answer}], id="more", kind="probes"
        )
    spec.probes = f"{PROJECT}/datasets/more"


async def test_two_right_answers_to_one_question_stop_the_study_before_anything_is_paid_for(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    await with_another_probe(client, platform, spec, right=False)
    error = await refused(client, spec)
    assert error.reason == "PROBES_CONTRADICT"
    assert "rows[0] and rows[12] of the probes" in error.message
    assert platform.created == []


async def test_a_probe_that_repeats_counts_once_and_the_report_says_so(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    await with_another_probe(client, platform, spec, right=True)
    await client.operations.wait(await begin(client, spec), timeout_s=60)
    report = await client.studies.report("one")
    assert report["inputs"]["probes"]["row_count"] == 13
    assert {c["n"] for c in report["comparisons"]} == {12}
    assert report["methods"]["icl"]["kinds"]["forward"]["n"] == 6
    assert any("counted once: again." in note for note in report["notes"])


async def test_documents_that_change_under_a_running_study_end_it(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(0.3)
    operation = await begin(client, spec)
    while "CreateEvaluation" not in platform.created:
        await asyncio.sleep(0.02)
    platform.store.resources[spec.dataset].sha256 = "f" * 64
    with pytest.raises(errors.OperationFailed) as caught:
        await client.operations.wait(operation, timeout_s=60)
    assert caught.value.reason == "INPUT_CHANGED"
    assert "projects/demo/datasets/documents changed while the study ran" in caught.value.message
    assert (await client.studies.get("one")).state == common_pb2.FAILED
    platform.slow(0.02)
    await client.operations.wait(await begin(client, spec, "two"), timeout_s=60)
    steps = (await client.studies.get("two")).steps
    assert {step.id for step in steps if step.status == Step.REUSED} == {"evaluate base"}


async def test_a_context_that_is_too_long_stops_the_study_before_anything_is_trained(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.store.resources[spec.model].context_window = 20
    error = await refused(client, spec)
    assert (error.reason, error.metadata["context_window"]) == ("CONTEXT_TOO_LONG", "20")
    assert platform.created == []


async def test_probes_in_place_of_documents(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.dataset = spec.probes
    assert (await refused(client, spec)).reason == "WRONG_DATASET_KIND"


async def test_a_dataset_that_is_not_there(client: AsyncClient, spec: studies_pb2.StudySpec) -> None:
    spec.dataset = f"{PROJECT}/datasets/nothing"
    error = await refused(client, spec)
    assert isinstance(error.cause, errors.NotFound)


async def test_a_failing_step_ends_the_study_with_its_error_and_what_to_do(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.fail_next(
        "CreateModel", "FAILED_PRECONDITION", "NO_RESOURCES", "no worker could be had in 120 s"
    )
    error = await refused(client, spec)
    assert error.reason == "NO_RESOURCES"
    assert "no worker could be had" in error.message
    assert "create the study again" in error.message
    assert error.metadata["step"].startswith("train ")
    study = await client.studies.get("one")
    failed = [step for step in study.steps if step.status == Step.ERROR]
    assert [step.id for step in failed] == [error.metadata["step"]]
    messages = [event.message async for event in client.studies.watch("one")]
    assert messages[-1].startswith("The study failed: ")


async def test_the_next_study_tries_what_failed_again_under_the_next_name(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["finetune"]
    platform.fail_next("CreateModel", "INTERNAL", "BROKEN", "out of luck")
    first = await refused(client, spec)
    assert first.reason == "BROKEN"
    study = await client.operations.wait(await begin(client, spec, "two"), timeout_s=60)
    assert study.outcomes[0].model.endswith("-2")
    assert study.steps[0].status == Step.DONE


async def test_a_deleted_model_is_made_again(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    spec.methods[:] = ["finetune"]
    first = await client.operations.wait(await begin(client, spec), timeout_s=60)
    platform.store.delete(first.outcomes[0].model)
    second = await client.operations.wait(await begin(client, spec, "two"), timeout_s=60)
    assert second.outcomes[0].model.startswith(first.outcomes[0].model)
    assert platform.created.count("CreateModel") == 2


def children_of(platform: Any) -> list[Any]:
    return [*platform.operations("CreateModel"), *platform.operations("AugmentDataset")]


async def test_cancelling_ends_the_children_that_the_study_started(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(0.3)
    operation = await begin(client, spec)
    while not platform.operations("CreateModel"):
        await asyncio.sleep(0.02)
    await client.operations.cancel(operation)
    with pytest.raises(errors.OperationCancelled):
        await client.operations.wait(operation, timeout_s=20)
    async with asyncio.timeout(30):
        while not all(child.done for child in children_of(platform)):
            await asyncio.sleep(0.05)
    assert {child.error.code for child in children_of(platform)} == {1}
    assert not [step for step in (await client.studies.get("one")).steps if step.status == Step.RUNNING]


async def test_a_platform_that_goes_away_for_a_while(
    client: AsyncClient, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(0.1)
    operation = await begin(client, spec)
    while len(platform.created) < 3:
        await asyncio.sleep(0.02)
    await asyncio.to_thread(platform.stop)
    await asyncio.sleep(1.0)
    platform.start()
    study = await client.operations.wait(operation, timeout_s=90)
    assert study.state == common_pb2.ACTIVE
    assert sorted(platform.created) == ONCE_EACH


@pytest.mark.parametrize(
    "failpoint",
    [
        "worker.after_claim",
        "worker.after_note:1",
        "worker.after_note:2",
        "studies.after_create:1",
        "studies.after_create:3",
        "storage.after_rename:2",
        "worker.before_finish",
    ],
)
async def test_killed_at_a_boundary_it_goes_on_and_does_nothing_twice(
    failpoint: str, start_process: Any, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    doomed = start_process(failpoint)
    async with AsyncClient(start_process.target, project=PROJECT) as client:
        operation = await begin(client, spec)
        assert await asyncio.to_thread(doomed.process.wait, 30) == -9
        await asyncio.to_thread(start_process)
        study = await client.operations.wait(operation, timeout_s=60)
        assert sorted(platform.created) == ONCE_EACH
        assert {step.status for step in study.steps} == {Step.DONE}
        events = [event async for event in client.studies.watch("one")]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        for step in study.steps:
            told = [e.step.status for e in events if e.step.id == step.id and not e.progress.stage]
            assert told == [Step.RUNNING, Step.DONE]
        assert (await client.studies.report("one"))["study"] == study.name


async def test_killed_in_the_middle_of_training_it_attaches_again(
    start_process: Any, platform: Any, spec: studies_pb2.StudySpec
) -> None:
    platform.slow(1.5)  # so that the children outlive the dead process's lease
    first = start_process()
    async with AsyncClient(start_process.target, project=PROJECT) as client:
        operation = await begin(client, spec)
        async for event in client.studies.watch("one"):
            if event.step.id == "train finetune" and event.step.status == Step.RUNNING:
                break
        first.kill()
        await asyncio.to_thread(start_process)
        while (await client.operations.get(operation)).metadata.attempt_count < 2:
            await asyncio.sleep(0.1)
        assert not platform.operations("CreateModel")[0].done
        await asyncio.sleep(0.5)
        platform.slow(0.02)
        study = await client.operations.wait(operation, timeout_s=60)
        events = [event async for event in client.studies.watch("one") if not event.progress.stage]
    assert sorted(platform.created) == ONCE_EACH
    assert {step.status for step in study.steps} == {Step.DONE}
    for step in study.steps:
        assert [e.step.status for e in events if e.step.id == step.id] == [Step.RUNNING, Step.DONE]
