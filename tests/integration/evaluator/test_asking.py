"""Choices asked in writing, models without log-likelihoods, and what a part of the documents supports."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from ingrain import errors
from ingrain.matching import answer_match
from ingrain.v1 import common_pb2, evaluator_pb2, trainer_pb2

PROJECT = "projects/demo"
SMALL = f"{PROJECT}/models/small"
GENERATION = evaluator_pb2.Evaluation.GENERATION


def request(probes: str, model: str = "small", **evaluation: Any) -> evaluator_pb2.CreateEvaluationRequest:
    subject = evaluation.pop("subject", evaluator_pb2.Subject(model=f"{PROJECT}/models/{model}"))
    return evaluator_pb2.CreateEvaluationRequest(
        parent=PROJECT,
        evaluation=evaluator_pb2.Evaluation(
            subject=subject, probes=f"{PROJECT}/datasets/{probes}", **evaluation
        ),
    )


async def evaluated(world: Any, wanted: evaluator_pb2.CreateEvaluationRequest) -> Any:
    operation = await world.user.stubs.evaluator.CreateEvaluation(wanted)
    return await world.user.operations.wait(operation, 60)


async def test_choices_asked_in_writing_are_matched_with_any_right_one(world: Any, probes: Any) -> None:
    choices = [probe for probe in probes if "choices" in probe][:8]
    several = {**choices[0], "id": "several", "answer": choices[0]["choices"]}
    lists = [probe for probe in probes if probe["kind"] == "list"][:2]
    world.datasets.add("mixed", [*choices, several, *lists])
    made = await evaluated(world, request("mixed", asking=GENERATION))
    assert made.asking == GENERATION
    assert world.behind.trouble.calls["Score"] == 0
    rows = {row["id"]: row async for row in world.user.evaluations.results(made.name)}
    for probe in [*choices, several]:
        row = rows[probe["id"]]
        right = probe["answer"] if isinstance(probe["answer"], list) else [probe["answer"]]
        assert row["metrics"] == answer_match(row["answer"], right)
        assert (row["metric"], "scores" in row, "chance" in row) == ("exact_match", False, False)
    assert {kind.metric for kind in made.kinds} == {"exact_match", "f1"}  # a list is one all the same
    assert made.cost.generated_token_count > 0
    scored = await evaluated(world, request("mixed"))
    assert scored.asking == evaluator_pb2.Evaluation.CHOICE
    again = await world.evaluated("again", "mixed", asking="generation")
    assert (again.asking, again.reused_probe_count) == (GENERATION, made.probe_count)
    with pytest.raises(errors.Invalid) as caught:
        await world.user.evaluations.compare(made.name, [scored.name])
    assert caught.value.reason == "OTHER_METRIC"


@pytest.fixture
async def chat() -> AsyncIterator[str]:
    """The address of a server that answers every message with the same."""

    async def answer(request: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "older than ever."}
        usage = {"prompt_tokens": 11, "completion_tokens": 3}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/v1"
    await runner.cleanup()


async def test_a_model_without_log_likelihoods_is_asked_in_writing_only(
    world: Any, probes: Any, chat: str
) -> None:
    remote = world.behind.models[f"{PROJECT}/models/remote"] = trainer_pb2.Model()
    remote.CopyFrom(world.behind.models[SMALL])
    remote.name = f"{PROJECT}/models/remote"
    remote.endpoint.base_url, remote.endpoint.model_id = chat, "big"
    lists = [probe for probe in probes if probe["kind"] == "list"][:2]
    world.datasets.add("lists", lists)
    judge = evaluator_pb2.Judge(model=remote.name)
    for wanted, field in (
        (request("probes", "remote"), "evaluation.asking"),
        (request("documents", "remote"), "evaluation.subject.model"),
        (request("lists", judge=judge), "evaluation.judge.model"),
    ):
        with pytest.raises(errors.Invalid) as caught:
            await world.user.stubs.evaluator.CreateEvaluation(wanted)
        assert caught.value.reason == "NO_LOG_LIKELIHOODS"
        assert [violation.field for violation in caught.value.field_violations] == [field]
    assert [found async for found in world.user.evaluations.list()] == []
    assert (await evaluated(world, request("lists", "remote"))).probe_count == 2
    made = await evaluated(world, request("probes", "remote", asking=GENERATION))
    assert (made.probe_count, made.cost.generated_token_count) == (len(probes), 3 * len(probes))


async def test_a_part_of_the_documents_supports_a_part_of_the_probes(
    world: Any, probes: Any, documents: Any
) -> None:
    """Half of each world's documents: probes that follow from the others are told apart."""
    subset = common_pb2.Subset(share=0.5, seed=3)
    context = evaluator_pb2.SubjectContext(
        dataset=f"{PROJECT}/datasets/documents", group_key="world", subset=subset
    )
    subject = evaluator_pb2.Subject(model=SMALL, context=context)
    made = await evaluated(world, request("probes", subject=subject, cluster_key="world"))
    rows = {row["id"]: row async for row in world.user.evaluations.results(made.name)}
    assert set(rows) == {probe["id"] for probe in probes}
    assert {row["supported"] for row in rows.values()} == {True, False}
    for kind in made.kinds:
        of_kind = [row for row in rows.values() if row["kind"] == kind.kind]
        covered = [row["value"] for row in of_kind if row["supported"]]
        assert kind.supported_count == len(covered)
        assert kind.HasField("supported_value") == bool(covered)
        if covered:
            assert kind.supported_value == pytest.approx(sum(covered) / len(covered))
    how = {"dataset": "documents", "group_key": "world", "subset": 0.5, "subset_seed": 3}
    again = await world.evaluated("again", "probes", **how)
    assert (again.subject, again.reused_probe_count) == (made.subject, made.probe_count)
    whole = await evaluated(world, request("probes", cluster_key="world"))
    assert not any(kind.HasField("supported_count") for kind in whole.kinds)


async def test_each_question_is_asked_with_what_is_found_for_it(world: Any, probes: Any) -> None:
    searched = {"unit": "document", "top_k": 2}
    how = {"dataset": "documents", "group_key": "world", "cluster_key": "world"}
    made = await world.evaluated("found", "reversals", retrieval=searched, **how)
    async with world.whole() as user:
        contexts = [await user.contexts.get(name) for name in made.contexts.values()]
    assert {context.retrieval.top_k for context in contexts} == {2}
    assert len(contexts) == len(
        {probe["metadata"]["world"] for probe in world.datasets.rows["projects/demo/datasets/reversals"]}
    )
    assert made.kinds[0].value > 0.7  # the one document that says it is found
    assert not any(kind.HasField("supported_count") for kind in made.kinds)
    assert made.reused_probe_count == 0
    # Other settings are other questions; the same ones are not.
    one = await world.evaluated("one", "reversals", retrieval={**searched, "top_k": 1}, **how)
    again = await world.evaluated("again", "reversals", retrieval=searched, **how)
    assert (one.reused_probe_count, again.reused_probe_count) == (0, made.probe_count)
