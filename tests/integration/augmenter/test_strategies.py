"""Every strategy through the service, with the bundled model, which was pretrained on the wordings of five of them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import datasets_pb2, trainer_pb2
from services.augmenter.strategies import STRATEGIES
from services.augmenter.strategies.base import template, template_sha256
from services.augmenter.strategies.masked import MASK

PROJECT = "projects/demo"
SPEC = {"group_key": "world", "distinct_key": "fact", "samples_per_document": 1, "max_tokens": 40, "seed": 5}
WITHOUT_MODEL = [name for name, strategy in STRATEGIES.items() if strategy.rows]


async def derived(
    user: AsyncClient, id: str, model: str = "small", dataset: str = "documents", **spec: Any
) -> tuple[datasets_pb2.Dataset, list[dict[str, Any]]]:
    operation = await user.datasets.augment(dataset, model, id=id, **spec)
    made = await operation.result(timeout_s=60)
    return made, [row async for row in user.datasets.rows(id)]


async def test_every_strategy_runs_and_accounts_for_all_it_asked(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    await world.user.datasets.upload(documents[::8], id="two")
    everything = {"keep_copies": True, "keep_duplicates": True}
    spec = {**SPEC, "strategies": list(STRATEGIES), "temperature": 0.0, "dataset": "two", "gates": everything}
    made, rows = await derived(world.user, "derived", **spec)
    provenance = made.provenance
    assert list(provenance.strategies) == list(STRATEGIES)
    assert Counter(row["provenance"]["strategy"] for row in rows) == dict(provenance.kept_counts)
    assert set(provenance.kept_counts) >= {"rephrase", "reverse", "infer", "link", "about", *WITHOUT_MODEL}
    assert provenance.prompt_count > 0
    for row in rows:
        origin = row["provenance"]
        made_alone = origin["strategy"] in WITHOUT_MODEL
        sha256 = "" if made_alone else template_sha256("default", origin["strategy"])
        assert origin["prompt_sha256"] == sha256
        assert (origin["model"] == "") is made_alone
        assert origin["source_rows"]
    again, _ = await derived(world.user, "again", **spec)
    assert again.sha256 == made.sha256
    assert again.provenance.reused_prompt_count == again.provenance.prompt_count == provenance.prompt_count


async def test_without_a_model_none_is_asked(world: Any, documents: list[dict[str, Any]]) -> None:
    made, rows = await derived(world.user, "plain", model="", **{**SPEC, "strategies": WITHOUT_MODEL})
    calls = world.behind.trouble.calls
    assert not {"Generate", "GetModel", "CountTokens", "CreateContext"} & set(calls)
    provenance = made.provenance
    assert (provenance.model, provenance.prompt_count, provenance.cost.flops) == ("", 0, 0)
    kept = dict(provenance.kept_counts)
    assert kept["reverse_words"] == kept["masked"] == 8  # sixteen documents tell eight facts
    texts = {document["id"]: document["text"] for document in documents}
    for row in rows:
        origin = row["provenance"]
        source = texts[origin["source_rows"][0]]
        assert (origin["model"], origin["seed"], origin["sample"]) == ("", 5, 0)
        if origin["strategy"] == "masked":
            hidden, whole = row["text"].split("\n\n")
            assert whole == source
            assert MASK in hidden
        if origin["strategy"] == "reverse_words":
            assert row["text"].startswith(". ")
            assert sorted(row["text"].replace(" ", "")) == sorted(source.replace(" ", ""))
    shown = await world.user.datasets.preview_augmentation("documents", strategies=WITHOUT_MODEL)
    assert {json.loads(row)["metadata"]["strategy"] for row in shown.rows} == set(WITHOUT_MODEL)
    assert not shown.prompts
    operation = await world.user.datasets.augment("documents", strategies=WITHOUT_MODEL, validate_only=True)
    assert operation.metadata.estimate.cost.generated_token_count == 0
    assert not {"Generate", "GetModel", "CountTokens", "CreateContext"} & set(calls)


@pytest.mark.parametrize("more", [{"strategies": ["masked", "reverse"]}, {}, {"target_tokens": 9}])
async def test_where_a_model_is_needed_its_lack_is_named(world: Any, more: dict[str, Any]) -> None:
    for validate_only in (True, False):
        with pytest.raises(errors.Invalid) as caught:
            await world.user.datasets.augment("documents", validate_only=validate_only, **more)
        assert [violation.field for violation in caught.value.field_violations] == ["spec.model"]


async def test_a_prompt_of_ones_own_is_asked_and_told(world: Any) -> None:
    """The bundled model knows `Turned around:` from its pretraining: another wording of `reverse`."""
    prompts = [
        {"strategy": "reverse", "text": "{document}\n\nTurned around:"},
        {"strategy": "seen", "text": "{document}\n\nPut differently:", "sees": "ONE_DOCUMENT"},
    ]
    spec = {**SPEC, "strategies": ["reverse", "seen", "infer"], "temperature": 0.0}
    everything = {"keep_copies": True, "keep_duplicates": True}
    _, rows = await derived(world.user, "own", prompts=prompts, gates=everything, **spec)
    by_strategy = {
        name: [r for r in rows if r["provenance"]["strategy"] == name] for name in spec["strategies"]
    }
    assert all(by_strategy.values())
    told = {
        name: {(r["provenance"]["prompt_set"], r["provenance"]["prompt_sha256"]) for r in found}
        for name, found in by_strategy.items()
    }
    assert told["infer"] == {("default", template_sha256("default", "infer"))}
    assert {prompt_set for prompt_set, _ in told["reverse"] | told["seen"]} == {"custom"}
    assert len(told["reverse"] | told["seen"]) == 2
    assert ("default", template_sha256("default", "reverse")) not in told["reverse"]


async def test_a_prompt_that_cannot_be_asked_is_refused_by_field(world: Any) -> None:
    prompts = [{"strategy": "own", "text": "Write something.", "sees": "ONE_DOCUMENT"}]
    with pytest.raises(errors.Invalid) as caught:
        await world.user.datasets.augment("documents", "small", strategies=["own"], prompts=prompts)
    assert [violation.field for violation in caught.value.field_violations] == ["spec.prompts[0].text"]
    with pytest.raises(errors.Invalid) as caught:
        await world.user.datasets.augment(
            "documents", "small", strategies=["Own!"], prompts=[{**prompts[0], "strategy": "Own!"}]
        )
    assert [violation.field for violation in caught.value.field_violations] == ["spec.prompts[0].strategy"]


async def test_the_bundled_model_is_held_to_the_schema(world: Any) -> None:
    """What it says in it is another matter; it is JSON, and what was cut off is repaired, asked again or counted."""
    prompts = [{"strategy": "reverse", "text": template("default", "reverse"), "structured": True}]
    spec = {**SPEC, "strategies": ["masked", "reverse"], "max_tokens": 80, "temperature": 0.7}
    made, _ = await derived(world.user, "held", prompts=prompts, **spec)
    provenance = made.provenance
    assert 8 <= provenance.prompt_count <= 24
    assert provenance.kept_counts["reverse"] + sum(provenance.dropped_counts.values()) >= 8
    written = [text for entry in stored_outputs(world) for text, *_ in json.loads(entry.read_text())]
    assert len(written) == provenance.prompt_count
    assert all(text.startswith('{"statements":') for text in written)


def stored_outputs(world: Any) -> list[Path]:
    return sorted((Path(world.settings.storage.removeprefix("file://")) / PROJECT / "outputs").glob("*.json"))


async def test_the_likest_documents_are_read_and_told(world: Any) -> None:
    spec = {**SPEC, "strategies": ["link"], "temperature": 0.0, "context_document_count": 2}
    made, rows = await derived(world.user, "few", **spec)
    assert world.behind.trouble.calls["CreateContext"] == 0
    assert made.provenance.prompt_count == 8
    assert rows
    for row in rows:
        origin = row["provenance"]
        assert 1 <= len(origin["read_rows"]) <= 2
        assert set(origin["source_rows"]) <= set(origin["read_rows"])


async def test_of_a_group_that_does_not_fit_so_much_is_read_as_does(world: Any) -> None:
    narrow = trainer_pb2.Model()
    narrow.CopyFrom(world.behind.models[f"{PROJECT}/models/small"])
    narrow.name, narrow.context_window = f"{PROJECT}/models/narrow", 200
    world.behind.models[narrow.name] = narrow
    spec = {**SPEC, "group_key": "", "strategies": ["masked", "link"], "temperature": 0.0}
    made, rows = await derived(world.user, "fitted", model="narrow", **spec)
    (note,) = [note for note in made.provenance.notes if "fit" in note]
    assert note.startswith(
        "4 prompts read 3 documents of their group"
    )  # the facts of two worlds have four numbers
    assert "window of 200 tokens" in note
    linked = [row["provenance"] for row in rows if row["provenance"]["strategy"] == "link"]
    assert all(len(origin["read_rows"]) == 3 for origin in linked)
    assert not world.behind.trouble.calls["CreateContext"]
