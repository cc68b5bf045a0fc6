"""AugmentDataset with the bundled model: what it writes is kept with its origin, or counted with a reason."""

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, datasets_pb2, trainer_pb2
from services.augmenter.gates import normalized
from services.augmenter.strategies.base import lines, template_sha256

PROJECT = "projects/demo"
SPEC = {"group_key": "world", "distinct_key": "fact", "samples_per_document": 2, "max_tokens": 40, "seed": 5}
LOCAL = {**SPEC, "strategies": ["rephrase", "reverse", "infer"]}
GREEDY = {**LOCAL, "temperature": 0.0}


async def augmented(
    user: AsyncClient, id: str, **spec: Any
) -> tuple[datasets_pb2.Dataset, list[dict[str, Any]]]:
    operation = await user.datasets.augment("documents", "small", id=id, **spec)
    made = await operation.result(timeout_s=60)
    return made, [row async for row in user.datasets.rows(id)]


async def ended(operation: Awaitable[Any]) -> Any:
    return await (await operation).result(timeout_s=60)


async def test_every_row_says_where_it_came_from_and_none_is_lost(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    outputs: list[str] = []
    made, rows = await augmented(world.user, "derived", **SPEC)
    source = await world.user.datasets.get("documents")
    model = world.behind.models[f"{PROJECT}/models/small"]
    provenance = made.provenance
    assert (provenance.source_dataset, provenance.source_sha256) == (source.name, source.sha256)
    assert (provenance.model, provenance.model_sha256) == (model.name, model.sha256)
    assert list(provenance.strategies) == ["rephrase", "reverse", "infer", "link", "about"]
    assert (made.kind, made.state, made.row_count) == (
        datasets_pb2.Dataset.DOCUMENTS,
        common_pb2.ACTIVE,
        len(rows),
    )

    by_id = {document["id"]: document for document in documents}
    for row in rows:
        origin = row["provenance"]
        assert origin["strategy"] == row["metadata"]["strategy"]
        assert origin["source_rows"]
        assert {by_id[id]["metadata"]["world"] for id in origin["source_rows"]} == {row["metadata"]["world"]}
        assert origin["prompt_sha256"] == template_sha256("default", origin["strategy"])
        assert (origin["model"], origin["model_sha256"]) == (model.name, model.sha256)
        assert (origin["seed"], origin["temperature"], origin["shuffled"]) == (5, 0.7, False)
        assert origin["sample"] in (0, 1)
    texts = [normalized(row["text"]) for row in rows]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {normalized(document["text"]) for document in documents}

    # What the model wrote is in storage; every statement of it was kept or dropped.
    for entry in stored_outputs(world):
        outputs.extend(text for text, _ in json.loads(entry.read_text()))
    assert (provenance.prompt_count, provenance.reused_prompt_count) == (len(outputs), 0)
    generated = [statement for output in outputs for statement in lines(output)]
    kept, dropped = dict(provenance.kept_counts), dict(provenance.dropped_counts)
    assert kept == Counter(row["metadata"]["strategy"] for row in rows)
    assert set(dropped) <= {"duplicate", "copy", "unparsable", "empty", "too_long"}
    assert dropped["duplicate"] > 0
    assert sum(kept.values()) + sum(dropped.values()) == len(generated)
    assert {row["text"] for row in rows} <= set(generated)

    cost = provenance.cost
    assert cost.prompt_token_count > 0
    assert cost.cached_token_count > 0  # link and about read the group's context
    assert cost.generated_token_count >= len(outputs)
    assert cost.flops > 2 * model.parameter_count * cost.generated_token_count
    assert cost.wall_seconds >= cost.compute_seconds > 0


async def test_the_bundled_model_turns_facts_round(world: Any, documents: list[dict[str, Any]]) -> None:
    """The augmentation does what it is for: most reversals that it writes name the fact's two ends, exchanged."""
    _, rows = await augmented(world.user, "derived", **{**GREEDY, "strategies": ["reverse"]})
    ends = {document["id"]: names(document["text"]) for document in documents}
    turned = [names(row["text"]) == ends[row["provenance"]["source_rows"][0]][::-1] for row in rows]
    assert len(rows) == 8
    assert sum(turned) >= 6


def names(text: str) -> tuple[str, ...]:
    """Who is compared with whom."""
    found = re.search(r"(\w+) are .* than (\w+)\.$", text)
    return found.groups() if found else ()


def stored_outputs(world: Any) -> list[Path]:
    return sorted((Path(world.settings.storage.removeprefix("file://")) / PROJECT / "outputs").glob("*.json"))


def forget(world: Any) -> None:
    """As if nothing had been written yet."""
    for path in stored_outputs(world):
        path.unlink()


async def test_the_same_seed_gives_the_same_rows(world: Any) -> None:
    spec = {**LOCAL, "strategies": ["rephrase", "link"]}
    first, rows = await augmented(world.user, "first", **spec)
    forget(world)
    again, same = await augmented(world.user, "again", **spec)
    assert first.sha256 == again.sha256
    assert rows == same
    other, _ = await augmented(world.user, "other", **{**spec, "seed": 1 << 62})
    assert other.sha256 != first.sha256


async def test_shuffled_documents_are_a_control(world: Any, documents: list[dict[str, Any]]) -> None:
    spec = {**GREEDY, "strategies": ["reverse", "about"], "shuffled": True}
    _, rows = await augmented(world.user, "control", **spec)
    _, again = await augmented(world.user, "control-2", **spec)
    assert [row["text"] for row in rows] == [row["text"] for row in again]
    pairs = {names(document["text"]) for document in documents}
    assert rows
    assert all(row["provenance"]["shuffled"] for row in rows)
    reversals = [names(row["text"])[::-1] for row in rows if row["metadata"]["strategy"] == "reverse"]
    assert sum(pair in pairs for pair in reversals) <= 2
    # Contexts were made of the exchanged documents, never of the true ones.
    contexts = world.behind
    read = [row async for row in world.user.datasets.rows("control-shuffled")]
    assert {row["id"] for row in read} <= {document["id"] for document in documents}
    assert not {row["text"] for row in read} & {document["text"] for document in documents}
    assert contexts.trouble.calls["CreateContext"] == 2  # of two worlds; the second control asks nothing anew


async def test_without_groups_all_documents_are_one_set(world: Any) -> None:
    _, rows = await augmented(world.user, "derived", **{**GREEDY, "strategies": ["link"], "group_key": ""})
    assert world.behind.trouble.calls["CreateContext"] == 1
    assert all("world" not in row["metadata"] for row in rows)


async def test_a_rehearsal_reckons_and_makes_nothing(world: Any) -> None:
    spec = {**SPEC, "strategies": ["reverse", "about"], "samples_per_document": 1}
    operation = await world.user.datasets.augment("documents", "small", validate_only=True, **spec)
    assert operation.done
    estimate = operation.metadata.estimate
    made, _ = await augmented(world.user, "derived", **spec)
    cost = made.provenance.cost
    assert estimate.row_count == 8  # sixteen documents tell eight facts
    assert estimate.cost.prompt_token_count == pytest.approx(cost.prompt_token_count, rel=0.2)
    assert estimate.cost.generated_token_count >= cost.generated_token_count
    assert [d.name.rsplit("/", 1)[1] async for d in world.user.datasets.list()] == ["derived", "documents"]


async def test_a_preview_shows_prompts_rows_and_what_falls_away(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    shown = await world.user.datasets.preview_augmentation("documents", "small", document_count=2, **SPEC)
    assert set(shown.prompts) == {"rephrase", "reverse", "infer", "link", "about"}
    assert shown.prompts["reverse"].endswith("\n\nThe other way round:")
    assert shown.rows
    assert all(dropped.reason and dropped.strategy for dropped in shown.dropped)
    contexts = world.behind.trouble.calls["CreateContext"]
    control = await world.user.datasets.preview_augmentation("documents", "small", shuffled=True, **SPEC)
    assert world.behind.trouble.calls["CreateContext"] == contexts  # of what nobody else will read
    read = control.prompts["about"].split("\n\n")[0].splitlines()
    assert len(read) == 4
    assert not set(read) & {document["text"] for document in documents}
    assert [d.name.rsplit("/", 1)[1] async for d in world.user.datasets.list()] == ["documents"]


async def test_what_cannot_be_augmented_is_refused_at_once(world: Any) -> None:
    user = world.user
    await user.datasets.upload([{"prompt": "a", "completion": "b"}], id="pairs")
    unfinished = f"{PROJECT}/models/unfinished"
    world.behind.models[unfinished] = trainer_pb2.Model(name=unfinished, state=common_pb2.CREATING)
    for dataset, model, spec, kind, field in (
        ("none", "small", {}, errors.NotFound, None),
        ("documents", "none", {}, errors.NotFound, None),
        ("documents", "small", {"strategies": ["guess"]}, errors.Invalid, "spec.strategies[0]"),
        ("documents", "small", {"prompt_set": "none"}, errors.Invalid, "spec.prompt_set"),
        ("documents", "small", {"temperature": 3.0}, errors.Invalid, "spec.temperature"),
        (
            "documents",
            "small",
            {"group_key": "planet"},
            (errors.Invalid, errors.OperationFailed),
            "rows[0].metadata.planet",
        ),
        ("pairs", "small", {}, errors.Invalid, "spec.dataset"),
        ("documents", "unfinished", {}, errors.WrongState, None),
        ("projects/other/datasets/documents", "small", {}, errors.NotFound, None),
    ):
        for validate_only in (True, False):
            with pytest.raises(kind) as caught:
                # Rows are looked at by the operation, everything else at once (an OperationFailed is no Invalid).
                await ended(user.datasets.augment(dataset, model, validate_only=validate_only, **spec))
            assert [v.field for v in caught.value.field_violations] == ([field] if field else []), spec
    with pytest.raises(errors.AlreadyExists):
        await user.datasets.augment("documents", "small", id="pairs")
    assert world.behind.trouble.calls["Generate"] == 0


async def test_a_document_that_the_model_cannot_take_is_named(world: Any) -> None:
    rows = [{"id": "short", "text": "Ilma are older than brevo."}, {"id": "long", "text": "older " * 5000}]
    await world.user.datasets.upload(rows, id="too-long")
    for strategy in (
        "reverse",
        "link",
    ):  # of a group that does not fit only the one in focus is read, and that is too long
        operation = await world.user.datasets.augment("too-long", "small", strategies=[strategy])
        with pytest.raises(errors.OperationFailed) as caught:
            await operation.result(timeout_s=60)
        assert caught.value.reason == "PROMPT_TOO_LONG"
        assert caught.value.metadata["context_window"] == "4096"
        assert caught.value.message.startswith(f"{strategy} of document 'long': ")


async def test_nothing_kept_is_an_error_that_says_what_was_dropped(world: Any) -> None:
    rows = [{"id": "1", "text": "§§ %% 77"}]
    await world.user.datasets.upload(rows, id="noise")
    operation = await world.user.datasets.augment("noise", "small", strategies=["rephrase"], max_tokens=1)
    with pytest.raises(errors.OperationFailed) as caught:
        await operation.result(timeout_s=60)
    assert caught.value.reason == "NOTHING_DERIVED"
    assert "unparsable" in caught.value.message or "empty" in caught.value.message


async def test_a_cancelled_augmentation_ends_and_leaves_no_dataset(world: Any) -> None:
    trouble = world.behind.trouble
    trouble.held = {"Generate"}
    operation = await world.user.datasets.augment("documents", "small", id="late", **LOCAL)
    await asyncio.wait_for(trouble.until_called("Generate"), 30)
    await operation.cancel()
    with pytest.raises(errors.OperationCancelled):
        await operation.result(timeout_s=30)
    assert (await world.user.datasets.get("late")).state == common_pb2.FAILED
    with pytest.raises(errors.WrongState):
        await world.user.datasets.augment("late", "small")


async def test_an_engine_that_is_away_half_way_costs_nothing_twice(world: Any) -> None:
    undisturbed, _ = await augmented(world.user, "undisturbed", **LOCAL)
    trouble = world.behind.trouble
    batches = trouble.answered["Generate"]
    assert batches >= 3
    forget(world)
    # Two batches go well; then it is away for all four tries of the client, and is waited for.
    trouble.away["Generate"] = (trouble.calls["Generate"] + 2, 4)
    made, _ = await augmented(world.user, "disturbed", **LOCAL)
    assert trouble.answered["Generate"] == 2 * batches
    assert made.sha256 == undisturbed.sha256
    cost = ("prompt_token_count", "cached_token_count", "generated_token_count", "flops")
    for field in cost:
        assert getattr(made.provenance.cost, field) == pytest.approx(
            getattr(undisturbed.provenance.cost, field)
        )
    (operation,) = [found async for found in world.user.operations.list("datasets/disturbed")]
    assert (await operation.refresh()).metadata.attempt_count == 1


@pytest.mark.parametrize(
    ("method", "well"), [("CountTokens", 0), ("CountTokens", 1), ("GetContext", 1)], ids=str
)
async def test_an_engine_that_is_away_while_tokens_are_counted_or_a_context_is_looked_at_costs_no_attempt(
    world: Any, method: str, well: int
) -> None:
    trouble = world.behind.trouble
    trouble.away[method] = (well, 4)  # for all tries of the client
    one_context = {**GREEDY, "strategies": ["link"], "group_key": ""}
    await augmented(world.user, "disturbed", **one_context)
    assert trouble.calls[method] > well + 4
    (operation,) = [found async for found in world.user.operations.list("datasets/disturbed")]
    assert (await operation.refresh()).metadata.attempt_count == 1


async def test_a_context_that_was_deleted_is_read_again(world: Any) -> None:
    spec = {**GREEDY, "strategies": ["link"]}
    first, _ = await augmented(world.user, "first", **spec)
    async with AsyncClient(
        world.behind.target, project=PROJECT, metadata=(("ingrain-on-behalf-of", PROJECT),)
    ) as gateway:
        for context in [found async for found in gateway.contexts.list()]:
            assert context.name.startswith(f"{PROJECT}/contexts/augment-")
            await gateway.contexts.delete(context.name)
    forget(world)
    again, _ = await augmented(world.user, "again", **spec)
    assert again.sha256 == first.sha256


async def test_a_killed_augmenter_goes_on_where_it_was(
    wired: Any,
    behind: Any,
    documents: list[dict[str, Any]],
    run_service: Callable[..., Any],
    speak: Callable[..., AsyncClient],
    serve_parts: Any,
) -> None:
    """Killed after its second batch; another process takes over when the lease has run out."""
    wired = wired.model_copy(update={"prompt_calls": 1})
    doomed = run_service("augmenter", wired, failpoint="augmenter.after_batch:2")
    async with speak(f"127.0.0.1:{wired.port}") as user:
        await user.datasets.upload(documents, id="documents")
        operation = await user.datasets.augment("documents", "small", id="derived", **LOCAL)
        assert await asyncio.to_thread(doomed.wait, 60) == -signal.SIGKILL
        assert behind.trouble.answered["Generate"] == 2
        run_service("augmenter", wired)
        made = await operation.result(timeout_s=60)
        batches = behind.trouble.answered["Generate"]
        again, _ = await augmented(user, "again", **LOCAL)
        assert behind.trouble.answered["Generate"] == batches
        assert made.sha256 == again.sha256
        assert made.provenance.reused_prompt_count == 0  # its own first attempt wrote them
        assert again.provenance.reused_prompt_count == again.provenance.prompt_count
        assert made.provenance.cost.generated_token_count == again.provenance.cost.generated_token_count


async def test_after_one_document_changed_only_what_reads_it_is_asked_again(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    """Eight facts of two worlds: local prompts about the one, and global prompts of its world."""
    spec = {**SPEC, "temperature": 0.0, "samples_per_document": 1}
    first, _ = await augmented(world.user, "first", **spec)
    changed = [dict(document) for document in documents]
    for document in changed:  # in both its wordings
        if (
            document["metadata"]["fact"] == "0"
            and document["metadata"]["world"] == changed[0]["metadata"]["world"]
        ):
            document["text"] = document["text"].replace("than ", "than the ")
    await world.user.datasets.upload(changed, id="changed")
    trouble = world.behind.trouble
    before = trouble.answered["CreateContext"]
    operation = await world.user.datasets.augment("changed", "small", id="second", **spec)
    second = (await operation.result(timeout_s=60)).provenance
    again = second.prompt_count - second.reused_prompt_count
    # Three local prompts, and the global ones of half the documents.
    assert 3 < again <= 3 + first.provenance.prompt_count // 2
    assert second.cost.flops > 0.5 * first.provenance.cost.flops  # what was reused counts as it did
    assert trouble.answered["CreateContext"] == before + 1  # of its world only
