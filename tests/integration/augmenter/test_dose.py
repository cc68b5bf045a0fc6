"""How much is derived, told in tokens of the model that writes."""

from typing import Any

from ingrain.v1 import inference_pb2

SPEC = {"group_key": "world", "distinct_key": "fact", "max_tokens": 40, "seed": 5}
LOCAL = {**SPEC, "strategies": ["rephrase", "reverse", "infer"], "samples_per_document": 6}


async def derived(world: Any, id: str, **spec: Any) -> tuple[Any, list[dict[str, Any]]]:
    operation = await world.user.datasets.augment("documents", "small", id=id, **spec)
    made = await operation.result(timeout_s=120)
    return made.provenance, [row async for row in world.user.datasets.rows(id)]


async def counted(world: Any, texts: list[str]) -> int:
    from ingrain import AsyncClient

    async with AsyncClient(
        world.behind.target, project="projects/demo", metadata=(("ingrain-on-behalf-of", "projects/demo"),)
    ) as gateway:
        request = inference_pb2.CountTokensRequest(model="projects/demo/models/small", texts=texts)
        return sum((await gateway.stubs.inference.CountTokens(request)).token_counts)


async def test_kept_rows_are_counted_by_the_model_that_wrote_them(world: Any) -> None:
    provenance, rows = await derived(world, "all", **LOCAL)
    assert provenance.token_count == await counted(world, [row["text"] for row in rows]) > 0
    assert "beyond_target" not in provenance.dropped_counts


async def test_rounds_end_where_the_target_is_reached(world: Any) -> None:
    whole, _ = await derived(world, "whole", **LOCAL)
    asked = world.behind.trouble.answered["Generate"]
    target = whole.token_count // 3
    provenance, rows = await derived(world, "dosed", **LOCAL, target_tokens=target)
    longest = max([await counted(world, [row["text"]]) for row in rows])
    assert target <= provenance.token_count < target + longest
    # Rounds that were not needed were not asked; what was asked had been written before, sample by sample.
    assert provenance.prompt_count < whole.prompt_count
    assert provenance.reused_prompt_count == provenance.prompt_count
    assert world.behind.trouble.answered["Generate"] == asked
    samples = {row["provenance"]["sample"] for row in rows}
    assert samples == set(range(max(samples) + 1))
    kept = {row["metadata"]["strategy"] for row in rows}
    assert kept == {"rephrase", "reverse", "infer"}  # the cut left none of them out
    again, same = await derived(world, "again", **LOCAL, target_tokens=target)
    assert same == rows
    assert again.dropped_counts == provenance.dropped_counts


async def test_a_target_that_is_out_of_reach_is_told(world: Any) -> None:
    provenance, _ = await derived(world, "thirsty", **LOCAL, target_tokens=1_000_000)
    whole, _ = await derived(world, "whole", **LOCAL)
    assert provenance.token_count > 0
    assert provenance.prompt_count == whole.prompt_count
    assert any("of the 1,000,000 tokens that were wanted" in note for note in provenance.notes)


async def test_copies_of_the_documents_are_rows_and_no_part_of_the_dose(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    plain, rows = await derived(world, "plain", **LOCAL)
    mixed, all_rows = await derived(world, "mixed", **LOCAL, original_copies=2)
    assert all_rows[: len(rows)] == rows
    copies = all_rows[len(rows) :]
    assert [row["text"] for row in copies] == [d["text"] for d in documents for _ in range(2)]
    assert {row["metadata"]["world"] for row in copies} == {d["metadata"]["world"] for d in documents}
    assert mixed.token_count == plain.token_count
    assert mixed.kept_counts == plain.kept_counts
