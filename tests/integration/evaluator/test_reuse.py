"""After a change only what depends on it is asked again, and costs stay comparable."""

from typing import Any

import pytest

IN_CONTEXT = {"group_key": "world", "cluster_key": "world"}
COUNTED = ("prompt_token_count", "cached_token_count", "generated_token_count", "flops", "compute_seconds")


def changed(documents: list[dict[str, Any]], world: str) -> list[dict[str, Any]]:
    """The first document of this world says something else; all else is as it was."""
    first = next(i for i, d in enumerate(documents) if d["metadata"]["world"] == world)
    other = {**documents[first], "text": documents[first]["text"].replace(" than ", " than not ")}
    assert other != documents[first]
    return [*documents[:first], other, *documents[first + 1 :]]


@pytest.fixture
def group(world: Any, documents: Any, probes: Any) -> str:
    found = str(probes[0]["metadata"]["world"])
    world.datasets.add("newer", changed(documents, found))
    return found


async def test_one_changed_group_is_asked_again_and_no_other(world: Any, probes: Any, group: str) -> None:
    trouble = world.behind.trouble
    first = await world.evaluated("first", dataset="documents", **IN_CONTEXT)
    before, contexts = await world.results("first"), trouble.answered["CreateContext"]
    second = await world.evaluated("second", dataset="newer", **IN_CONTEXT)
    after = await world.results("second")
    of_group = [probe["id"] for probe in probes if probe["metadata"]["world"] == group]
    assert (first.reused_probe_count, first.probe_count) == (0, len(probes))
    assert second.reused_probe_count == len(probes) - len(of_group)
    assert trouble.answered["CreateContext"] == contexts + 1
    assert {id for id in before if before[id] != after[id]} <= set(of_group)
    assert any(before[id] != after[id] for id in of_group)
    # What was read then is named; only the changed group has a context of the new documents.
    assert {g for g in first.contexts if first.contexts[g] != second.contexts[g]} == {group}
    assert set(second.contexts) == set(first.contexts)
    assert (await world.user.evaluations.get("second")).contexts == second.contexts
    assert [len(found.contexts) async for found in world.user.evaluations.list()] == [0, 0]
    for name in ("prompt_token_count", "cached_token_count", "flops"):
        assert getattr(second.cost, name) == pytest.approx(getattr(first.cost, name), rel=0.05)


async def test_without_groups_a_change_of_documents_asks_everything_again(
    world: Any, documents: Any, probes: Any, group: str
) -> None:
    few = [probe for probe in probes if probe["metadata"]["world"] == group]
    world.datasets.add("few", few)
    for name in ("documents", "newer"):
        rows = world.datasets.rows[f"projects/demo/datasets/{name}"]
        world.datasets.add(f"{name}-few", [row for row in rows if row["metadata"]["world"] == group])
    await world.evaluated("first", "few", dataset="documents-few")
    second = await world.evaluated("second", "few", dataset="newer-few")
    assert second.reused_probe_count == 0
    # The same texts under another name are the same.
    world.datasets.add("copy", world.datasets.rows["projects/demo/datasets/documents-few"])
    third = await world.evaluated("third", "few", dataset="copy")
    assert third.reused_probe_count == len(few)


async def test_without_context_documents_do_not_matter_and_costs_are_those_of_then(world: Any) -> None:
    first = await world.evaluated("first", cluster_key="world")
    calls = dict(world.behind.trouble.answered)
    second = await world.evaluated("second")  # other clusters are counted anew, and asked by nobody
    assert second.reused_probe_count == second.probe_count == first.probe_count
    for name in ("Score", "Generate"):
        assert world.behind.trouble.answered[name] == calls[name]
    for name in COUNTED:
        assert getattr(first.cost, name) == getattr(second.cost, name)
    assert second.cost.wall_seconds >= second.cost.compute_seconds > 0
    assert [kind.value for kind in second.kinds] == [kind.value for kind in first.kinds]


async def test_changed_probes_alone_are_asked_again(world: Any, probes: Any, group: str) -> None:
    await world.evaluated("first", dataset="documents", **IN_CONTEXT)
    edited = [
        {**probe, "choices": probe["choices"][::-1]}
        if probe["metadata"]["world"] == group and "choices" in probe
        else probe
        for probe in probes
    ]
    world.datasets.add("edited", edited)
    second = await world.evaluated("second", "edited", dataset="documents", **IN_CONTEXT)
    assert second.reused_probe_count == sum(probe["metadata"]["world"] != group for probe in probes)
    # Who may be right is no part of what is asked.
    other = [{**probe, "answer": probe["choices"][0]} if "choices" in probe else probe for probe in probes]
    world.datasets.add("other-answers", other)
    third = await world.evaluated("third", "other-answers", dataset="documents", **IN_CONTEXT)
    assert third.reused_probe_count == third.probe_count
    rows = await world.results("third")
    assert all(
        rows[p["id"]]["value"]
        == float(rows[p["id"]]["answer"] == p["choices"][0] and not rows[p["id"]]["tie"])
        for p in other
        if "choices" in p
    )
