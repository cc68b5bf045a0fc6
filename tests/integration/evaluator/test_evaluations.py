"""Evaluations as resources: compared, paged, refused, cancelled, killed and gone on with."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, evaluator_pb2, trainer_pb2

PROJECT = "projects/demo"
SMALL = f"{PROJECT}/models/small"
IN_CONTEXT = {"dataset": "documents", "group_key": "world", "cluster_key": "world"}
CHOICE = {"kind": "k", "prompt": "bralo are", "choices": ["older than a.", "older than b."]}


async def ended(operation: Awaitable[Any]) -> Any:
    return await (await operation).result(timeout_s=60)


async def test_evaluations_of_the_same_probes_are_compared_pair_by_pair(world: Any, probes: Any) -> None:
    await world.evaluated("alone", cluster_key="world")
    await world.evaluated("icl", **IN_CONTEXT)
    alone, icl = await world.results("alone"), await world.results("icl")
    found = {d.kind: d for d in await world.user.evaluations.compare("alone", ["icl"], seed=3)}
    assert set(found) == {probe["kind"] for probe in probes} | {"all"}
    for kind, difference in found.items():
        gaps = [icl[id]["value"] - alone[id]["value"] for id in alone if kind in (alone[id]["kind"], "all")]
        clusters = {alone[id]["cluster"] for id in alone if kind in (alone[id]["kind"], "all")}
        assert difference.candidate == f"{PROJECT}/evaluations/icl"
        assert difference.value == pytest.approx(sum(gaps) / len(gaps))
        assert (difference.n, difference.cluster_count) == (len(gaps), len(clusters))
        assert difference.ci95_low <= difference.value <= difference.ci95_high
    # The bundled model knows nothing of worlds that it never saw, and reads them.
    assert found["list"].ci95_low < found["list"].value  # all from one catalogue
    assert found["reversal"].value > 0
    assert found["forward"].value > 0
    again = {d.kind: d for d in await world.user.evaluations.compare("alone", ["icl"], seed=3)}
    assert again == found
    same = await world.user.evaluations.compare("icl", ["icl"])
    assert {d.value for d in same} == {0.0}
    assert all(
        d.ci95_high == pytest.approx(-d.ci95_low) for d in same
    )  # only as wide as so few probes leave it
    few = [id for id in alone if alone[id]["kind"] == "reversal"][:3]
    only = await world.user.evaluations.compare("alone", ["icl"], probe_ids=few)
    assert [(d.kind, d.n) for d in only] == [("reversal", 3), ("all", 3)]

    world.datasets.add("fewer", probes[:5])
    await world.evaluated("fewer", "fewer")
    with pytest.raises(errors.Invalid) as caught:
        await world.user.evaluations.compare("alone", ["fewer"])
    assert caught.value.reason == "OTHER_PROBES"
    with pytest.raises(errors.NotFound):
        await world.user.evaluations.compare("alone", ["none"])


async def test_results_come_in_pieces_that_fit_messages(world: Any) -> None:
    wide = "字" * 40_000  # an id of three bytes a character
    rows = [{**CHOICE, "id": f"{wide}{i}", "answer": "older than a."} for i in range(12)]
    world.datasets.add("wide", rows)
    await world.evaluated("mine", "wide")
    request = evaluator_pb2.ReadResultsRequest(name=f"{PROJECT}/evaluations/mine")
    messages = [message async for message in world.user.stubs.evaluator.ReadResults(request)]
    assert len(messages) > 2
    assert all(message.ByteSize() < 1 << 20 for message in messages)
    ids = [row["id"] async for row in world.user.evaluations.results("mine")]
    assert ids == [row["id"] for row in rows]
    assert [row["id"] async for row in world.user.evaluations.results("mine", start=9)] == ids[9:]
    assert [row async for row in world.user.evaluations.results("mine", start=12)] == []


async def test_evaluations_are_listed_newest_first_and_can_be_hidden(
    world: Any, probes: Any, speak: Callable[..., AsyncClient]
) -> None:
    world.datasets.add("few", probes[:2])
    for i in range(5):
        await world.evaluated(f"e-{i}", "few")
    assert [e.name[-1] async for e in world.user.evaluations.list(page_size=2)] == [*"43210"]
    target = f"127.0.0.1:{world.settings.port}"
    async with speak(target, project="projects/other") as other:
        name = f"{PROJECT}/evaluations/e-0"
        for call in (
            other.evaluations.get(name),
            other.evaluations.delete(name),
            other.evaluations.compare(name, [name]),
            anext(other.evaluations.results(name)),
        ):
            with pytest.raises(errors.NotFound):
                await call
    await world.user.evaluations.delete("e-3")
    assert [e.name[-1] async for e in world.user.evaluations.list(page_size=2)] == [*"4210"]
    with pytest.raises(errors.NotFound):
        await world.user.evaluations.get("e-3")
    with pytest.raises(errors.AlreadyExists):
        await world.evaluated("e-3", "few")


async def test_what_cannot_be_asked_is_refused_at_once(world: Any, probes: Any) -> None:
    datasets, models = world.datasets, world.behind.models
    datasets.add("unfinished", probes)
    datasets.unfinished.add(f"{PROJECT}/datasets/unfinished")
    unfinished = f"{PROJECT}/models/unfinished"
    models[unfinished] = trainer_pb2.Model(name=unfinished, state=common_pb2.FAILED)
    cases: list[tuple[str, str, dict[str, Any], type[errors.IngrainError], str]] = [
        ("none", "probes", {}, errors.NotFound, ""),
        ("unfinished", "probes", {}, errors.WrongState, ""),
        ("small", "none", {}, errors.NotFound, ""),
        ("small", "unfinished", {}, errors.WrongState, ""),
        ("small", "documents", {"dataset": "documents"}, errors.Invalid, "evaluation.subject.context"),
        ("small", "probes", {"dataset": "none"}, errors.NotFound, ""),
        ("small", "probes", {"dataset": "probes"}, errors.Invalid, "evaluation.subject.context.dataset"),
        ("small", "probes", {"question_template": "Q?"}, errors.Invalid, "evaluation.question_template"),
        ("small", "probes", {"id": "Not An Id"}, errors.Invalid, "evaluation_id"),
    ]
    for model, probe_set, how, kind, field in cases:
        for validate_only in (True, False):
            with pytest.raises(kind) as caught:
                await world.user.evaluations.create(model, probe_set, validate_only=validate_only, **how)
            assert [v.field for v in caught.value.field_violations] == ([field] if field else []), how
    assert [found async for found in world.user.evaluations.list()] == []
    assert world.behind.trouble.calls["Score"] == 0


async def test_probes_that_cannot_be_asked_are_named(world: Any) -> None:
    right = {**CHOICE, "answer": "older than a.", "metadata": {"world": "none"}}
    question = {"id": "q", "kind": "k", "question": "Who?", "answers": ["a"], "metadata": {"world": "none"}}
    add = world.datasets.add
    add("ungrouped", [{**right, "id": "1"}, {**right, "id": "2", "metadata": {}}])
    add("mixed", [{**right, "id": "1"}, question])
    add("long", [{**right, "id": "1"}, {**right, "id": "2", "prompt": "older " * 5000}])
    add("huge", [{"id": str(i), "text": "older than ever. " * 200} for i in range(8)])
    for probes, how, reason, field in (
        ("ungrouped", {"dataset": "documents", "group_key": "world"}, "NO_GROUP", "rows[1].metadata.world"),
        ("mixed", {}, "MIXED_KIND", "rows[1].kind"),
        ("long", {}, "PROMPT_TOO_LONG", "probes['2']"),
        ("long", {"dataset": "huge"}, "CONTEXT_TOO_LONG", "context"),
        ("ungrouped", {"dataset": "documents", "group_key": "kind"}, "NO_GROUP", "rows[0].metadata.kind"),
    ):
        with pytest.raises(errors.OperationFailed) as caught:
            await ended(world.user.evaluations.create("small", probes, **how))
        assert caught.value.reason == reason
        assert [violation.field for violation in caught.value.field_violations] == [field]
    unknown = {**right, "id": "1"}
    add("elsewhere", [unknown])
    with pytest.raises(errors.OperationFailed) as caught:
        await ended(world.user.evaluations.create("small", "elsewhere", **IN_CONTEXT))
    assert caught.value.reason == "NOTHING_SELECTED"
    assert "'none'" in caught.value.message


async def test_what_is_measured_is_the_same_within_a_kind(world: Any) -> None:
    """One question with two answers makes its kind a list, so that numbers of a kind can be averaged."""
    rows = [
        {"id": "1", "kind": "tools", "question": "Which?", "answers": ["a"]},
        {"id": "2", "kind": "tools", "question": "Which others?", "answers": ["a", "b"]},
    ]
    world.datasets.add("tools", rows)
    (kind,) = (await world.evaluated("mine", "tools")).kinds
    assert (kind.metric, kind.n) == ("f1", 2)
    assert {row["metric"] for row in (await world.results("mine")).values()} == {"f1"}


async def test_a_cancelled_evaluation_ends_without_results(world: Any) -> None:
    trouble = world.behind.trouble
    trouble.held = {"Score"}
    operation = await world.user.evaluations.create("small", "probes", "late")
    await asyncio.wait_for(trouble.until_called("Score"), 30)
    await operation.cancel()
    with pytest.raises(errors.OperationCancelled):
        await operation.result(timeout_s=30)
    assert (await world.user.evaluations.get("late")).state == common_pb2.FAILED
    with pytest.raises(errors.WrongState):
        await world.results("late")


async def test_an_engine_that_is_away_half_way_is_asked_nothing_twice(world: Any) -> None:
    trouble = world.behind.trouble
    trouble.away["Score"] = (2, 4)  # all four tries of the client
    made = await world.evaluated("disturbed", "reversals", **IN_CONTEXT)
    assert trouble.answered["Score"] == 4  # a world each
    (operation,) = [found async for found in world.user.operations.list("evaluations/disturbed")]
    assert operation.metadata.attempt_count == 2
    # What an earlier attempt asked is this evaluation's own.
    assert (made.probe_count, made.reused_probe_count) == (16, 0)
    async with gateway(world) as client:
        names = [context.name async for context in client.contexts.list()]
    assert sorted(made.contexts.values()) == sorted(names)


async def test_contexts_that_went_or_failed_are_made_again(world: Any, probes: Any) -> None:
    reversals = [probe for probe in probes if "reversals" in probe["metadata"]["world"]]
    for part in range(3):  # nothing is asked twice, so that each reads all contexts
        world.datasets.add(f"part-{part}", reversals[part::3])
    await world.evaluated("first", "part-0", **IN_CONTEXT)
    async with gateway(world) as client:
        names = [context.name async for context in client.contexts.list()]
        assert all(name.startswith(f"{PROJECT}/contexts/documents-") for name in names)
        for name in names:
            await client.contexts.delete(name)
        again = await world.evaluated("again", "part-1", **IN_CONTEXT)
        assert {context.name async for context in client.contexts.list()} == {f"{name}-1" for name in names}
        assert set(again.contexts.values()) == {f"{name}-1" for name in names}
        for name in names:
            (operation,) = [found async for found in client.operations.list(f"{name}-1")]
            await client.operations.delete(operation.name)  # forgotten operations do not matter
    third = await world.evaluated("third", "part-2", **IN_CONTEXT)
    assert third.contexts == again.contexts


def gateway(world: Any) -> AsyncClient:
    return AsyncClient(world.behind.target, project=PROJECT, metadata=(("ingrain-on-behalf-of", PROJECT),))


async def test_a_killed_evaluator_goes_on_where_it_was(
    settings: Any, behind: Any, run_service: Callable[..., Any], speak: Callable[..., AsyncClient]
) -> None:
    """Killed after its second batch; another process takes over when the lease has run out."""
    doomed = run_service("evaluator", settings, failpoint="evaluator.after_batch:2")
    async with speak(f"127.0.0.1:{settings.port}") as user:
        operation = await user.evaluations.create("small", "probes", "mine")
        assert await asyncio.to_thread(doomed.wait, 60) == -signal.SIGKILL
        assert behind.trouble.answered["Score"] == 2
        run_service("evaluator", settings)
        made = await operation.result(timeout_s=60)
        asked = behind.trouble.answered["Score"] + behind.trouble.answered["Generate"]
        assert asked == 3  # each batch once
        again = await ended(user.evaluations.create("small", "probes", "again"))
        assert behind.trouble.answered["Score"] + behind.trouble.answered["Generate"] == asked
        assert list(made.kinds) == list(again.kinds)
        assert made.cost.flops == again.cost.flops
        assert made.environment == again.environment
        assert (made.reused_probe_count, again.reused_probe_count) == (0, made.probe_count)
