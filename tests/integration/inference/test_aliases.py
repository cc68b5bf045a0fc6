"""Names that stay while what answers behind them changes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import aliases_pb2 as pb
from ingrain.v1 import common_pb2, datasets_pb2, evaluator_pb2, inference_pb2, studies_pb2
from servicekit.database import Database
from servicekit.resources import Resources
from services.inference.settings import InferenceSettings

NAME = "projects/demo/aliases/support-bot@prod"
BASE, CHAT, ADAPTER = (f"projects/demo/models/{name}" for name in ("base", "chat", "adapter"))
DOCUMENTS, PROBES = "projects/demo/datasets/documents", "projects/demo/datasets/probes"
RETRIEVAL = common_pb2.Retrieval(top_k=1)


@pytest.fixture
def measure(gateway: Any) -> Callable[..., str]:
    """measure(id, model, context, **values by kind) -> name of an ACTIVE evaluation on the probes."""
    gateway.rows[PROBES] = [{"id": "1", "kind": "reversal", "prompt": "a", "choices": ["b"], "answer": "b"}]
    gateway.kinds[PROBES] = datasets_pb2.Dataset.PROBES

    def measure(
        id: str, model: str, context: evaluator_pb2.SubjectContext | None = None, **values: float
    ) -> str:
        evaluation = evaluator_pb2.Evaluation(
            name=f"projects/demo/evaluations/{id}",
            subject=evaluator_pb2.Subject(model=model, context=context),
            probes=PROBES,
            probes_sha256="d" * 64,
            state=common_pb2.ACTIVE,
            kinds=[evaluator_pb2.KindResult(kind=k, metric="acc", value=v) for k, v in values.items()],
        )
        gateway.evaluations[evaluation.name] = evaluation
        return evaluation.name

    return measure


@pytest.fixture
def decided(gateway: Any, measure: Callable[..., str]) -> studies_pb2.Study:
    """A study whose winner searches a part of the documents with the base model."""
    context = evaluator_pb2.SubjectContext(dataset=DOCUMENTS, distinct_key="fact", retrieval=RETRIEVAL)
    study = studies_pb2.Study(name="projects/demo/studies/winner", state=common_pb2.ACTIVE)
    study.recommendation.method, study.recommendation.model = "icl_retrieved", BASE
    study.recommendation.context.CopyFrom(context)
    study.outcomes.add(method="finetune", model=CHAT, evaluation=measure("loser", CHAT, reversal=0.1))
    study.outcomes.add(
        method="icl_retrieved", model=BASE, evaluation=measure("winner", BASE, context, reversal=0.9)
    )
    gateway.studies[study.name] = study
    return study


async def answered_by(client: AsyncClient, model: str) -> inference_pb2.GenerateResponse:
    request = inference_pb2.GenerateRequest(
        parent="projects/demo", model=model, prompts=["the cemid is"], max_tokens=2
    )
    return await client.stubs.inference.Generate(request)


async def test_an_alias_stands_for_a_model_and_then_for_another(client: AsyncClient) -> None:
    first = await client.aliases.promote("support-bot@prod", "base")
    assert (first.name, first.target, first.subject.model) == (NAME, BASE, BASE)
    assert (first.evaluation, list(first.versions)) == ("", [])
    assert (await answered_by(client, "support-bot@prod")).model == BASE
    second = await client.aliases.promote("support-bot@prod", "chat")
    assert second.etag != first.etag
    assert [version.target for version in second.versions] == [BASE]
    assert second.versions[0].update_time == first.update_time
    assert (await answered_by(client, NAME)).model == CHAT
    assert (await client.generate("support-bot@prod", "a", max_tokens=1)).model == CHAT
    assert await client.aliases.get("support-bot@prod") == second
    again = await client.aliases.promote("support-bot@prod", "chat")
    assert again == second, "what it stands for already is no change"
    back = await client.aliases.roll_back("support-bot@prod")
    assert (back.target, list(back.versions)) == (BASE, [])
    assert (await answered_by(client, "support-bot@prod")).model == BASE
    with pytest.raises(errors.WrongState) as nothing:
        await client.aliases.roll_back("support-bot@prod")
    assert nothing.value.reason == "NOTHING_BEFORE"


async def test_documents_are_read_behind_an_alias(client: AsyncClient) -> None:
    alias = await client.aliases.promote("reader", "icl:documents@base")
    assert alias.target == "icl:documents@base"
    plain, read = await answered_by(client, BASE), await answered_by(client, "icl:documents@base")
    for name in ("reader", alias.name):
        answer = await answered_by(client, name)
        assert answer.generations == read.generations
        assert answer.usage.prompt_token_count == read.usage.prompt_token_count
        assert answer.usage.prompt_token_count > plain.usage.prompt_token_count
    by_name = inference_pb2.GenerateRequest(model=alias.name, prompts=["a"], max_tokens=1)
    assert (await client.stubs.inference.Generate(by_name)).usage.prompt_token_count > 20
    with pytest.raises(errors.Invalid, match="brings a context"):
        await client.stubs.inference.Generate(
            inference_pb2.GenerateRequest(
                parent="projects/demo", model="reader", context="projects/demo/contexts/c", prompts=["a"]
            )
        )


async def test_a_studys_winner_is_written_down_as_it_was(
    client: AsyncClient, gateway: Any, decided: studies_pb2.Study
) -> None:
    alias = await client.aliases.promote(
        "bot@prod", "auto:winner", gate_probes="probes", least={"reversal": 0.8}
    )
    assert alias.target == "rag:documents@base"
    assert alias.subject.context == decided.recommendation.context
    assert alias.evaluation == "projects/demo/evaluations/winner"
    assert alias.gate.probes_sha256 == "d" * 64
    decided.recommendation.model = CHAT
    assert (await answered_by(client, "bot@prod")).model == BASE


async def test_sets_asked_apart_show_nothing_of_an_alias(
    client: AsyncClient, decided: studies_pb2.Study, gateway: Any
) -> None:
    decided.recommendation.context.group_key = "world"
    gateway.evaluations["projects/demo/evaluations/winner"].subject.context.group_key = "world"
    alias = await client.aliases.promote("bot", "auto:winner")
    assert alias.subject.context.group_key == ""
    with pytest.raises(errors.WrongState, match="its own group by 'world'"):
        await client.aliases.promote("bot", "auto:winner", gate_probes="probes", least={"reversal": 0.8})


async def test_nothing_below_the_gate_stands_behind_it(
    client: AsyncClient, measure: Callable[..., str]
) -> None:
    good, bad = measure("good", BASE, reversal=0.9), measure("bad", CHAT, reversal=0.79)
    gate = {"gate_probes": "probes", "least": {"reversal": 0.8}}
    alias = await client.aliases.promote("bot", "base", evaluation=good, **gate)
    assert dict(alias.gate.least) == {"reversal": 0.8}
    with pytest.raises(errors.WrongState) as below:
        await client.aliases.promote("bot", "chat", evaluation=bad)
    assert below.value.reason == "BELOW_GATE"
    told = {key: below.value.metadata[key] for key in ("kind", "value", "least")}
    assert told == {"kind": "reversal", "value": "0.79", "least": "0.8"}
    for evaluation, reason in (("", "NO_EVALUATION"), (good, "EVALUATION_OF_ANOTHER_SUBJECT")):
        with pytest.raises(errors.WrongState) as refused:
            await client.aliases.promote("bot", "chat", evaluation=evaluation)
        assert refused.value.reason == reason
    with pytest.raises(errors.WrongState) as gone:
        await client.aliases.promote("bot", "chat", evaluation="projects/demo/evaluations/nowhere")
    assert gone.value.reason == "EVALUATION_GONE"
    assert await client.aliases.get("bot") == alias
    lower = await client.aliases.promote(
        "bot", "chat", evaluation=bad, gate_probes="probes", least={"reversal": 0.7}
    )
    assert lower.target == CHAT


async def test_the_gate_of_today_counts_when_it_is_rolled_back(
    client: AsyncClient, measure: Callable[..., str]
) -> None:
    low, high = measure("low", BASE, reversal=0.6), measure("high", CHAT, reversal=0.95)
    await client.aliases.promote("bot", "adapter")
    await client.aliases.promote("bot", "base", evaluation=low, gate_probes="probes", least={"reversal": 0.5})
    now = await client.aliases.promote(
        "bot", "chat", evaluation=high, gate_probes="probes", least={"reversal": 0.9}
    )
    with pytest.raises(errors.WrongState, match="models/base") as below:
        await client.aliases.roll_back("bot")
    assert below.value.reason == "BELOW_GATE"
    assert await client.aliases.get("bot") == now
    await client.aliases.promote("bot", "chat", high, gate_probes="probes", least={"reversal": 0.6})
    assert (await client.aliases.roll_back("bot")).gate.least["reversal"] == 0.6


async def test_of_two_at_once_one_wins(client: AsyncClient) -> None:
    alias = await client.aliases.promote("bot", "base")
    tries = [client.aliases.promote("bot", target, etag=alias.etag) for target in ("chat", "adapter")]
    done = await asyncio.gather(*tries, return_exceptions=True)
    (lost,) = [one for one in done if isinstance(one, Exception)]
    assert isinstance(lost, errors.Busy)
    assert lost.reason == "ALIAS_CHANGED"
    (won,) = [one for one in done if isinstance(one, pb.Alias)]
    assert await client.aliases.get("bot") == won
    assert [version.target for version in won.versions] == [BASE]
    # Without an etag both are done, one after the other, and none is lost.
    await asyncio.gather(*(client.aliases.promote("new", target) for target in ("base", "chat", "adapter")))
    new = await client.aliases.get("new")
    assert sorted([new.target, *(version.target for version in new.versions)]) == [ADAPTER, BASE, CHAT]
    with pytest.raises(errors.Busy):
        await client.aliases.promote("never-made", "base", etag="0123")


async def test_fifty_versions_are_kept(client: AsyncClient) -> None:
    for _ in range(27):
        await client.aliases.promote("bot", "base")
        last = await client.aliases.promote("bot", "chat")
    assert len(last.versions) == 50
    assert {version.target for version in last.versions[::2]} == {BASE}


async def test_behind_an_alias_whose_model_is_gone_nobody_answers(client: AsyncClient, gateway: Any) -> None:
    await client.aliases.promote("bot", "chat")
    await client.aliases.promote("bot", "base")
    gateway.models.pop(CHAT)
    with pytest.raises(errors.WrongState, match="models/chat") as gone:
        await client.aliases.roll_back("bot")
    assert gone.value.reason == "ALIAS_TARGET_GONE"
    gateway.models.pop(BASE)
    with pytest.raises(errors.WrongState, match="models/base") as gone:
        await answered_by(client, "bot")
    assert (gone.value.reason, gone.value.metadata["alias"]) == (
        "ALIAS_TARGET_GONE",
        "projects/demo/aliases/bot",
    )
    with pytest.raises(errors.WrongState):
        await client.aliases.promote("other", "chat")


async def test_a_removed_alias_can_be_made_again(client: AsyncClient) -> None:
    alias = await client.aliases.promote("bot@prod", "base")
    await client.aliases.delete("bot@prod")
    for call in (
        client.aliases.get("bot@prod"),
        answered_by(client, "bot@prod"),
        client.aliases.delete("bot@prod"),
    ):
        with pytest.raises(errors.NotFound):
            await call
    made = await client.aliases.promote("bot@prod", "chat")
    assert list(made.versions) == []
    assert made.etag != alias.etag
    assert [one.name async for one in client.aliases.list()] == [made.name]


async def test_other_projects_and_other_names_are_refused(
    client: AsyncClient, address: str, connect: Callable[..., AsyncClient]
) -> None:
    await client.aliases.promote("bot", "base")
    async with connect(address, project="projects/other") as stranger:
        for call in (
            stranger.aliases.get("bot"),
            stranger.aliases.delete("bot"),
            answered_by(stranger, "projects/demo/aliases/bot"),
        ):
            with pytest.raises(errors.NotFound):
                await call
    for name in ("Bot", "bot@", "bot@a@b", "b" * 64):
        with pytest.raises(errors.Invalid):
            await client.aliases.promote(name, "base")
    for target in ("bot@prod", "icl:documents", "projects/else/models/base"):
        with pytest.raises((errors.Invalid, errors.NotFound)):
            await client.stubs.aliases.PromoteAlias(
                pb.PromoteAliasRequest(name="projects/demo/aliases/x", target=target)
            )


CRASHING = """
import asyncio, sys
from ingrain.v1 import aliases_pb2 as pb
from servicekit.database import Database
from servicekit.resources import Resources
from services.inference.aliases import Aliases

async def main():
    rows = Resources(Database(sys.argv[1], schema="inference"), pb.Alias, "aliases")
    before = await rows.get(sys.argv[2])
    wanted = pb.Alias(name=sys.argv[2], target="projects/demo/models/chat")
    print(await Aliases(None, rows, None)._switch(before, wanted))

asyncio.run(main())
"""


async def test_a_death_in_the_middle_changes_nothing(
    client: AsyncClient, settings: InferenceSettings
) -> None:
    alias = await client.aliases.promote("bot", "base")
    command = [sys.executable, "-c", CRASHING, settings.database_url, alias.name]

    async def switch(**variables: str) -> int:
        return await asyncio.to_thread(
            lambda: subprocess.run(command, env=os.environ | variables, timeout=60, check=False).returncode
        )

    assert await switch(INGRAIN_FAILPOINT="alias.before_commit") == -signal.SIGKILL
    assert await client.aliases.get("bot") == alias
    assert await switch() == 0
    rows = Resources(Database(settings.database_url, schema="inference"), pb.Alias, "aliases")
    assert (await rows.get(alias.name)).target == CHAT
    await rows.database.close()
