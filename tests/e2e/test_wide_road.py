"""The further ways, on a real platform: searched and partial contexts, several trainings, what is lost, another server's
model, an alias, a document that changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web

from ingrain import AsyncClient, errors, general, worlds
from ingrain.v1 import aliases_pb2, studies_pb2
from tools.worlds_study import Doses, bundled_model, study_request, upload_worlds

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
METHODS = ("base", "icl_subset", "icl_retrieved", "rag", "finetune", "finetune_icl")
DOSES = Doses(max_steps=12, samples_per_document=1)
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "report.schema.json").read_text())


def tiny_worlds(seed: int = 78) -> worlds.World:
    return worlds.suite(
        seed=seed, reversal_worlds=3, facts=3, repeats=1, syllogism_worlds=1, syllogism_count=3, catalogues=0
    )


async def finished(client: AsyncClient, request: studies_pb2.CreateStudyRequest) -> studies_pb2.Study:
    return await client.operations.wait(await client.stubs.studies.CreateStudy(request), timeout_s=600)


async def uploaded(client: AsyncClient, world: worlds.World, id: str) -> Any:
    return await client.datasets.upload(world.documents, id=id, kind="documents")


async def test_every_way_of_reading_and_what_training_takes_away(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        world, kept = tiny_worlds(), general.held_out(977, worlds=1, facts=3)
        model = await bundled_model(client)
        documents, probes = await upload_worlds(client, world)
        read, asked = await upload_worlds(client, worlds.World("kept", kept.context, kept.context_probes))
        retention = studies_pb2.Retention(
            text=read.name,
            context=read.name,
            context_probes=asked.name,
            group_key="world",
            distinct_key="fact",
        )
        request = study_request(
            client, documents, probes, model, 78, doses=DOSES, methods=METHODS, retention=retention
        )
        request.study.spec.training_seeds[:] = [1, 2]
        request.study.spec.matching = studies_pb2.TOKENS
        study = await finished(client, request)
        report = await client.studies.report(study.name)
        assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(report)) == []
        methods = report["methods"]
        assert tuple(methods) == METHODS
        assert all(entry["latency"]["n"] >= 10 for entry in methods.values())
        reading = {name: entry["cost"]["question"]["prompt_token_count"] for name, entry in methods.items()}
        assert reading["rag"] > reading["base"] + 10
        assert methods["icl_subset"]["cost"]["question"]["cached_token_count"] > 0
        assert methods["icl_subset"]["support"]["n"] < report["inputs"]["probes"]["row_count"]
        assert methods["finetune_icl"]["model"] == methods["finetune"]["model"]
        assert [one["seed"] for one in methods["finetune"]["seeds"]] == [1, 2]
        trained = await client.models.get(methods["finetune"]["model"])
        assert trained.training.max_tokens == 12 * 4 * 256
        rows = {row["weights"]: row for row in report["retention"]}
        assert set(rows) == {"base", "finetune"}
        assert rows["finetune"]["bits_per_byte"] > 0.9 * rows["base"]["bits_per_byte"]
        assert rows["finetune"]["context"]["difference"] is not None

        # One document changes: who never read it is found, and so are the answers about other worlds.
        world.documents[0]["text"] = world.documents[0]["text"].replace(" are ", " surely are ", 1)
        changed = await uploaded(client, world, "changed")
        again = studies_pb2.CreateStudyRequest()
        again.CopyFrom(request)
        again.study_id, again.request_id = "changed", ""
        again.study.spec.dataset, again.study.spec.previous_study = changed.name, study.name
        await finished(client, again)
        report = await client.studies.report("changed")
        assert report["previous"]["study"] == study.name
        reuse = report["reuse"]
        assert 0 < reuse["steps_reused"] < reuse["steps"]
        assert reuse["probes_reused"] > report["inputs"]["probes"]["row_count"]


@pytest.fixture
async def chat_server() -> AsyncIterator[str]:
    """Answers every question with a word of its own prompt, as a server with a model would answer something."""

    async def complete(request: web.Request) -> web.Response:
        asked = await request.json()
        words = asked["messages"][-1]["content"].split()
        message = {"role": "assistant", "content": words[-1]}
        usage = {"prompt_tokens": len(words), "completion_tokens": 1}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_a_model_of_another_server_and_an_alias_for_the_winner(
    platform_address: str, chat_server: str
) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        imported = await client.models.import_endpoint(chat_server, "big", id="elsewhere")
        far = await imported.result(timeout_s=60)
        one = worlds.suite(seed=79, reversal_worlds=1, facts=4, repeats=1, syllogism_worlds=0, catalogues=0)
        documents, probes = await upload_worlds(client, one)
        operation = await client.studies.create(
            documents.name,
            probes.name,
            model,
            "far",
            methods=["base", "rag"],
            contenders=[far.name],
        )
        study = await operation.result(timeout_s=300)
        assert [outcome.method for outcome in study.outcomes] == ["base", "rag", "icl@elsewhere"]
        report = await client.studies.report("far")
        assert report["methods"]["icl@elsewhere"]["cost"]["question"]["prompt_token_count"] > 20
        assert {kind["metric"] for kind in report["methods"]["rag"]["kinds"].values()} == {"exact_match"}

        name = f"{client.parent}/aliases/worlds@prod"
        alias = await client.stubs.aliases.PromoteAlias(
            aliases_pb2.PromoteAliasRequest(name=name, target="auto:far")
        )
        assert alias.target
        answer = await client.generate("worlds@prod", "Did you know that", max_tokens=2)
        assert answer.usage.generated_token_count >= 1
        gate = aliases_pb2.Gate(probes=probes.name, least={"forward": 1.01})
        with pytest.raises(errors.WrongState) as caught:
            await client.stubs.aliases.PromoteAlias(
                aliases_pb2.PromoteAliasRequest(name=name, target="auto:far", gate=gate)
            )
        assert caught.value.reason == "BELOW_GATE"


async def test_probes_by_the_model(platform_address: str) -> None:
    async with AsyncClient(platform_address) as client:
        model = await bundled_model(client)
        documents = await uploaded(client, tiny_worlds(80), "to-ask-about")
        operation = await client.evaluations.generate_probes(
            documents.name, model, group_key="world", distinct_key="fact", count_per_kind=3
        )
        made = await operation.result(timeout_s=300)
        rows = [row async for row in client.datasets.rows(made.name)]
        assert len(rows) == made.row_count >= 2
        assert all(row["answer"] in row["choices"] for row in rows if "choices" in row)
        assert made.labels["made_by"] == "GenerateProbes"
        assert await asyncio.to_thread(json.loads, made.labels["kept"])
