"""Which project a short name belongs to, and the list of names."""

from typing import Any

import openai
import pytest

from ingrain.v1 import aliases_pb2

ASK = {"prompt": "the bralo", "max_tokens": 2, "temperature": 0}


async def test_the_project_is_the_headers_or_the_keys_or_the_default(platform: Any) -> None:
    mine = await platform.new_key("projects/default")
    for client, model, project in (
        (platform.openai(), "base", "default"),
        (platform.openai(project="demo"), "base", "demo"),
        (platform.openai(), "projects/demo/models/base", "demo"),
        (platform.openai(mine), "base", "default"),
        (platform.openai(mine, project="default"), "base", "default"),
        (platform.openai(project="demo"), "icl:documents@base", "demo"),
    ):
        answer = await client.completions.create(model=model, **ASK)
        assert answer.system_fingerprint == f"projects/{project}/models/base"
        assert answer.model == model


async def test_another_project_is_as_if_it_were_not_there(platform: Any) -> None:
    mine = await platform.new_key("projects/default")
    for client, model in (
        (platform.openai(mine, project="demo"), "base"),
        (platform.openai(mine), "projects/demo/models/base"),
        (platform.openai(mine), "icl:projects/demo/datasets/documents@base"),
    ):
        with pytest.raises(openai.NotFoundError):
            await client.completions.create(model=model, **ASK)
    with pytest.raises(openai.NotFoundError):
        await platform.openai(mine, project="demo").models.list()
    with pytest.raises(openai.BadRequestError, match="OpenAI-Project"):
        await platform.openai(project="no/such").models.list()


async def test_the_list_has_names_that_can_be_asked(platform: Any) -> None:
    """Over all pages, without models that are not ready; aliases by names that work as they stand."""
    async with platform.grpc() as grpc:
        for alias in ("bot@prod", "bot"):
            request = aliases_pb2.PromoteAliasRequest(
                name=f"projects/default/aliases/{alias}", target="projects/default/models/base"
            )
            await grpc.stubs.aliases.PromoteAlias(request)
    client = platform.openai()
    found = (await client.models.list()).data
    assert sorted(model.id for model in found) == ["base", "bot@prod", "chat", "projects/default/aliases/bot"]
    for model in found:
        assert (model.object, model.owned_by) == ("model", "default")
        assert model.created >= 1_700_000_000
        answer = await client.completions.create(model=model.id, **ASK)
        assert answer.model == model.id
        one = await client.models.retrieve(model.id)
        assert (one.id, one.created) == (model.id, model.created)


async def test_one_name(platform: Any) -> None:
    client = platform.openai()
    for name in ("projects/demo/models/base", "icl:documents@base", "rag:documents@chat"):
        assert (await client.models.retrieve(name)).id == name
    for name in ("nobody", "icl:documents@nobody", "auto:none", "bot@prod"):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve(name)
        assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        await client.models.retrieve("odd:name")
