"""The whole road on one machine, small: worlds in, decision and model out; then again, and nothing is redone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ingrain import AsyncClient, errors, worlds
from ingrain.v1 import studies_pb2
from tools.worlds_study import Doses, bundled_model, study_request, upload_worlds

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
METHODS = ("base", "icl", "finetune", "augmented_finetune")


async def small_study(
    client: AsyncClient, doses: Doses
) -> tuple[studies_pb2.CreateStudyRequest, studies_pb2.Study]:
    world = worlds.suite(
        seed=77, reversal_worlds=2, facts=3, repeats=2, syllogism_worlds=1, syllogism_count=3
    )
    documents, probes = await upload_worlds(client, world)
    model = await bundled_model(client)
    request = study_request(client, documents, probes, model, seed=77, doses=doses, methods=METHODS)
    study = await client.operations.wait(await client.stubs.studies.CreateStudy(request), timeout_s=600)
    return request, study


async def test_documents_in_decision_and_model_out(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        doses = Doses(max_steps=12, samples_per_document=1)
        request, study = await small_study(client, doses)
        assert [outcome.method for outcome in study.outcomes] == list(METHODS)
        assert {step.status for step in study.steps} == {studies_pb2.StudyStep.DONE}

        answer = await client.stubs.studies.GetReport(studies_pb2.GetReportRequest(name=study.name))
        report = json.loads(answer.content)
        assert set(report["methods"]) == set(METHODS)
        for method in METHODS:
            reversal = report["methods"][method]["kinds"]["reversal"]
            assert reversal["n"] == 6
            low, high = reversal["ci95"]
            assert low <= reversal["accuracy"] <= high
        assert report["methods"]["augmented_finetune"]["cost"]["build"]["flops"] > 0
        assert report["recommendation"]["method"] in METHODS

        # The trained model is served by name, and so is the study's winner.
        finetuned = next(o for o in study.outcomes if o.method == "finetune")
        generated = await client.generate(finetuned.model, "Did you know that", max_tokens=4)
        assert generated.usage.generated_token_count >= 1
        by_study = await client.generate(
            f"auto:{study.name.rsplit('/', 1)[1]}", "Did you know that", max_tokens=2
        )
        assert by_study.model

        # The same again, under another name: every step is found, none is paid for twice.
        again = studies_pb2.CreateStudyRequest()
        again.CopyFrom(request)
        again.study_id, again.request_id = "again", ""
        second = await client.operations.wait(await client.stubs.studies.CreateStudy(again), timeout_s=300)
        assert {step.status for step in second.steps} == {studies_pb2.StudyStep.REUSED}
        assert [o.kinds for o in second.outcomes] == [o.kinds for o in study.outcomes]


async def test_callers_with_bare_stubs(platform_address: str) -> None:
    """upload -> study -> report -> ask by generated stubs alone; tests/contract drives the same from the bundle."""
    root = Path(__file__).parents[2]
    script = [sys.executable, "examples/raw_grpc.py", platform_address]
    done = subprocess.run(script, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


async def test_the_bundled_model_refuses_ordinary_english(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        text = "The quarterly figures of the northern branch were published yesterday afternoon, to general surprise."
        documents = await client.datasets.upload([{"id": "d", "text": text}])
        probe = {"id": "p", "kind": "k", "prompt": "The figures were", "choices": ["published.", "hidden."]}
        probes = await client.datasets.upload([probe | {"answer": "published."}])
        model = await bundled_model(client)
        with pytest.raises(errors.IngrainError, match="--model"):
            await (await client.studies.create(documents.name, probes.name, model)).result(timeout_s=60)
