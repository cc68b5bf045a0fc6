"""What a derivation is said to take, against what it then takes; and a preview of it. With the bundled model."""

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, trainer_pb2
from services.augmenter.__main__ import assemble

SPEC = {"group_key": "world", "distinct_key": "fact", "samples_per_document": 1, "max_tokens": 40, "seed": 5}
GLOBAL = {**SPEC, "strategies": ["reverse", "link"]}
PRICES = {
    "effective_date": "2026-11-01",
    "currency_code": "EUR",
    "device_hours": {"*": "3.60"},
    "tokens": {"large-2": {"prompt": "2", "generated": "10"}},
}


@pytest.fixture
async def priced(
    wired: Any,
    behind: Any,
    serve_parts: Any,
    speak: Callable[..., AsyncClient],
    tmp_path: Path,
    documents: Any,
) -> AsyncIterator[AsyncClient]:
    """A user of an augmenter whose operator has set prices."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(PRICES))
    settings = wired.model_copy(update={"prices": path})
    far = trainer_pb2.Endpoint(base_url="http://127.0.0.1:9/v1", model_id="large-2", context_window=4000)
    for name, endpoint in (
        ("far", far),
        ("unknown", trainer_pb2.Endpoint(model_id="x", context_window=4000)),
    ):
        full = f"projects/demo/models/{name}"
        behind.models[full] = trainer_pb2.Model(
            name=full, state=common_pb2.ACTIVE, sha256=name, context_window=4000, endpoint=endpoint
        )
    async with serve_parts(settings, await assemble(settings)) as target:
        async with speak(target) as user:
            await user.datasets.upload(documents, id="documents")
            yield user


async def estimate(user: AsyncClient, model: str = "small", **spec: Any) -> common_pb2.Estimate:
    operation = await user.datasets.augment("documents", model, validate_only=True, **spec)
    return operation.metadata.estimate


async def derived(user: AsyncClient, id: str, **spec: Any) -> Any:
    return await (await user.datasets.augment("documents", "small", id=id, **spec)).result(timeout_s=60)


async def test_tokens_are_foreseen_with_the_contexts_that_must_be_read(world: Any) -> None:
    foreseen = await estimate(world.user, **GLOBAL)
    assert any("2 of 2 groups are read once" in note for note in foreseen.notes)
    cost = (await derived(world.user, "one", **GLOBAL)).provenance.cost
    assert foreseen.cost.prompt_token_count == pytest.approx(cost.prompt_token_count, rel=0.1)
    assert foreseen.cost.cached_token_count == pytest.approx(cost.cached_token_count, rel=0.1)
    assert foreseen.cost.generated_token_count >= cost.generated_token_count


async def test_what_is_in_the_store_costs_nothing_and_what_was_measured_is_used(world: Any) -> None:
    first = await estimate(world.user, **GLOBAL)
    assert any("How long it will take is not known" in note for note in first.notes)
    assert first.cost.compute_seconds == 0
    done = await derived(world.user, "one", **GLOBAL)

    same = await estimate(world.user, **GLOBAL)
    assert any(note.startswith("16 of them cost nothing") for note in same.notes)
    assert same.cost == common_pb2.Cost()

    other = await estimate(world.user, **{**GLOBAL, "seed": 6})
    took = (await derived(world.user, "two", **{**GLOBAL, "seed": 6})).provenance.cost
    assert any("0 of 2 groups are read once" in note for note in other.notes)
    assert any("as measured for" in note and done.name in note for note in other.notes)
    assert other.cost.generated_token_count == pytest.approx(took.generated_token_count, rel=0.3)
    assert other.cost.compute_seconds > 0
    assert other.cost.wall_seconds > 0

    more = await estimate(world.user, **{**GLOBAL, "strategies": ["reverse", "link", "infer"]})
    assert any("16 of them cost nothing" in note for note in more.notes)
    assert any("At most 40 tokens are written to each prompt of `infer`" in note for note in more.notes)


async def test_money_is_told_where_the_operator_set_prices(priced: AsyncClient) -> None:
    nothing_known = await estimate(priced, **GLOBAL)
    assert not nothing_known.HasField("price")
    assert any("no price as long as its time is not known" in note for note in nothing_known.notes)
    took = (await derived(priced, "one", **GLOBAL)).provenance
    assert float(took.price.amount) == pytest.approx(took.cost.compute_seconds / 1000, abs=1e-6)
    assert any(note.startswith("Prices of 2026-11-01, by seconds of ") for note in took.notes)
    known = await estimate(priced, **{**GLOBAL, "seed": 6})
    assert known.price.currency_code == "EUR"
    assert float(known.price.amount) == pytest.approx(known.cost.compute_seconds / 1000, abs=1e-6)
    far = await estimate(priced, "far", **GLOBAL)
    by_tokens = (2 * far.cost.prompt_token_count + 10 * far.cost.generated_token_count) / 1e6
    assert float(far.price.amount) == pytest.approx(by_tokens, abs=1e-6)
    unknown = await estimate(priced, "unknown", **GLOBAL)
    assert not unknown.HasField("price")
    assert any("no price for tokens of 'x'" in note for note in unknown.notes)


async def test_without_a_model_nothing_is_asked_and_nothing_costs(world: Any) -> None:
    foreseen = await estimate(world.user, "", strategies=["reverse_words", "masked"])
    assert foreseen.cost == common_pb2.Cost()
    assert any("made by rules" in note for note in foreseen.notes)
    shown = await world.user.datasets.preview_augmentation(
        "documents", "", document_count=2, strategies=["reverse_words", "masked"]
    )
    assert {json.loads(row)["metadata"]["strategy"] for row in shown.rows} == {"reverse_words", "masked"}
    assert not shown.prompts
    assert world.behind.trouble.calls["Generate"] == 0


async def test_a_preview_shows_what_a_derivation_writes_first(world: Any) -> None:
    own = {"strategy": "own", "text": "{document}\n\nThe other way round:", "sees": "ONE_DOCUMENT"}
    spec = {**GLOBAL, "strategies": ["reverse", "own", "link"], "prompts": [own]}
    began = time.monotonic()
    shown = await world.user.datasets.preview_augmentation("documents", "small", document_count=3, **spec)
    assert time.monotonic() - began < 10
    assert set(shown.prompts) == {"reverse", "own", "link"}
    assert shown.prompts["own"] == shown.prompts["reverse"]
    previewed = [json.loads(row) for row in shown.rows]
    assert {row["metadata"]["strategy"] for row in previewed} <= {"reverse", "own", "link"}
    assert all(row["provenance"]["source_rows"] for row in previewed)
    await derived(world.user, "one", **spec)
    rows = {row["text"] async for row in world.user.datasets.rows("one")}
    assert {row["text"] for row in previewed} <= rows
    assert [d.name.rsplit("/", 1)[1] async for d in world.user.datasets.list()] == ["one", "documents"]
