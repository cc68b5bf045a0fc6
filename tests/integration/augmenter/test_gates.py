"""Gates over whole derivations with the bundled model: what they drop is counted with examples, what they ask is paid once."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ingrain import errors
from ingrain.v1 import common_pb2, trainer_pb2
from services.augmenter.gates.contradiction import contradiction
from services.augmenter.gates.near import near_duplicates
from tools.probe_truth import Truth

SPEC = {"group_key": "world", "distinct_key": "fact", "samples_per_document": 2, "max_tokens": 40, "seed": 5}
LINK = {**SPEC, "strategies": ["reverse", "link", "about"]}
JUDGE = "projects/demo/models/judge"
PRICES = {
    "effective_date": "2026-11-01",
    "currency_code": "EUR",
    "device_hours": {"*": "3.60"},
    "tokens": {"by-truth": {"prompt": "2", "generated": "10"}},
}


@pytest.fixture
def wired(wired: Any, tmp_path: Path) -> Any:
    """The operator has set prices."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(PRICES))
    return wired.model_copy(update={"prices": path})


async def derived(world: Any, id: str, **spec: Any) -> tuple[Any, list[dict[str, Any]]]:
    operation = await world.user.datasets.augment("documents", "small", id=id, **spec)
    made = await operation.result(timeout_s=120)
    return made, [row async for row in world.user.datasets.rows(id)]


def truths(documents: list[dict[str, Any]]) -> dict[str, Truth]:
    worlds: dict[str, list[str]] = {}
    for document in documents:
        worlds.setdefault(document["metadata"]["world"], []).append(document["text"])
    return {name: Truth(texts) for name, texts in worlds.items()}


def right(rows: list[dict[str, Any]], documents: list[dict[str, Any]]) -> float:
    """The share of rows that follow, of those of which it can be told."""
    known = truths(documents)
    said = [known[row["metadata"]["world"]].of(row["text"]) for row in rows]
    told = [one for one in said if one is not None]
    return sum(told) / len(told)


async def test_the_papers_setting_keeps_what_the_default_drops(world: Any) -> None:
    usual, rows = await derived(world, "usual", **LINK)
    all_off = {"keep_copies": True, "keep_duplicates": True}
    paper, all_rows = await derived(world, "paper", **LINK, gates=all_off)
    dropped = dict(usual.provenance.dropped_counts)
    assert dropped["duplicate"] > 0
    assert set(paper.provenance.dropped_counts) <= {"empty", "unparsable", "too_long"}
    missing = {reason: n for reason, n in dropped.items() if reason in ("copy", "duplicate")}
    assert len(all_rows) == len(rows) + sum(missing.values())
    for reason, count in dropped.items():
        assert len(usual.provenance.dropped_examples[reason].texts) == min(3, count)


async def test_near_duplicates_are_dropped_at_the_threshold(world: Any) -> None:
    usual, every = await derived(world, "all", **LINK)
    made, rows = await derived(world, "few", **LINK, gates={"near_duplicate_threshold": 0.3})
    texts = [row["text"] for row in every]
    wanted = [text for text, near in zip(texts, near_duplicates(texts, 0.3), strict=True) if near is None]
    assert 0 < len(wanted) < len(texts)
    assert [row["text"] for row in rows] == wanted
    # What repeats a near duplicate is one again, and no longer a duplicate.
    dropped, before = made.provenance.dropped_counts, usual.provenance.dropped_counts
    assert dropped["near_duplicate"] >= len(texts) - len(wanted)
    assert sum(dropped.values()) == sum(before.values()) + len(texts) - len(wanted)


async def test_only_what_is_about_its_documents_is_on_topic(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    made, rows = await derived(world, "on-topic", **LINK, gates={"on_topic": True})
    _, every = await derived(world, "every", **LINK)
    assert made.provenance.dropped_counts["off_topic"] >= len(every) - len(rows) > 0
    by_id = {document["id"]: document["text"].casefold() for document in documents}
    for row in rows:
        sources = " ".join(by_id[id] for id in row["provenance"]["source_rows"])
        assert set(row["text"].casefold().rstrip(".").split()) & set(sources.rstrip(".").split())


async def test_the_likelier_of_statement_and_contradiction_stays_and_is_paid_once(
    world: Any, documents: list[dict[str, Any]]
) -> None:
    _, every = await derived(world, "every", **LINK)
    gates = {"likelier_than_contradiction": True}
    made, rows = await derived(world, "likelier", **LINK, gates=gates)
    assert made.provenance.dropped_counts["unlikely"] == len(every) - len(rows) > 0
    weighed = [row for row in rows if contradiction(row["text"]) is not None]
    assert [row for row in rows if "verdicts" in row["provenance"]] == weighed
    margins = [row["provenance"]["verdicts"]["contradiction"]["margin"] for row in weighed]
    assert min(margins) >= 0
    assert len(margins) > 0.8 * len(rows)
    assert len(set(margins)) > len(margins) / 2
    # What follows from one document is likelier than its contradiction; slips that mix documents up mostly are, too.
    alone = [row["text"] for row in every if row["metadata"]["strategy"] == "reverse"]
    assert right([row for row in every if row["text"] in alone], documents) == 1.0
    assert set(alone) <= {row["text"] for row in rows}

    trouble = world.behind.trouble
    asked = trouble.calls["Score"]
    assert asked > 0
    again, same = await derived(world, "again", **LINK, gates=gates)
    assert trouble.calls["Score"] == asked
    assert same == rows
    # What weighing took is told, and told again of answers that were there already.
    plain = (await world.user.datasets.get("every")).provenance.cost
    assert made.provenance.cost.flops > plain.flops
    assert again.provenance.cost.flops == pytest.approx(made.provenance.cost.flops)


async def test_an_engine_that_is_away_while_statements_are_weighed_costs_nothing_twice(world: Any) -> None:
    gates = {"likelier_than_contradiction": True}
    trouble = world.behind.trouble
    trouble.away["Score"] = (2, 4)  # for all tries of the client
    made, _ = await derived(world, "disturbed", **LINK, gates=gates)
    answered = trouble.answered["Score"]
    (operation,) = [found async for found in world.user.operations.list("datasets/disturbed")]
    assert (await operation.refresh()).metadata.attempt_count <= 2
    again, _ = await derived(world, "again", **LINK, gates=gates)
    assert trouble.answered["Score"] == answered
    assert again.sha256 == made.sha256


class ByTruth:
    """A judge behind a socket that answers as its documents say, or talks where a statement is among `unreadable`."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.unreadable: set[str] = set()

    async def handle(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.requests.append(asked)
        read, _, statement = asked["messages"][-1]["content"].rpartition("\n\nStatement: ")
        documents = read.split("\n\n")[0].splitlines()
        if statement in self.unreadable:
            said = "I would rather not say."
        else:
            verdict = {True: "supported", False: "contradicted", None: "not_mentioned"}[
                Truth(documents).of(statement)
            ]
            said = json.dumps({"claims": [{"claim": statement, "verdict": verdict}]})
        return web.json_response(
            {
                "choices": [{"message": {"content": said}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 70, "completion_tokens": 30},
            }
        )


@pytest.fixture
async def judge(world: Any) -> AsyncIterator[ByTruth]:
    server = ByTruth()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    world.behind.models[JUDGE] = trainer_pb2.Model(
        name=JUDGE,
        state=common_pb2.ACTIVE,
        sha256="f" * 64,
        context_window=4000,
        chat_template=True,
        endpoint=trainer_pb2.Endpoint(base_url=url, model_id="by-truth", context_window=4000),
    )
    yield server
    await runner.cleanup()


async def test_what_a_judge_finds_unfaithful_is_dropped(
    world: Any, judge: ByTruth, documents: list[dict[str, Any]]
) -> None:
    _, every = await derived(world, "every", **LINK)
    judge.unreadable = {every[0]["text"], every[1]["text"]}
    made, rows = await derived(world, "judged", **LINK, gates={"judge": JUDGE})
    verdicts = Counter(row["provenance"]["verdicts"]["judge"] for row in rows)
    assert verdicts == {"supported": len(rows) - 2, "unreadable": 2}
    assert made.provenance.dropped_counts["unfaithful"] == len(every) - len(rows) > 0
    assert len(made.provenance.dropped_examples["unfaithful"].texts) == min(3, len(every) - len(rows))
    assert any("could not be read for 2 statements" in note for note in made.provenance.notes)
    supported = [row for row in rows if row["provenance"]["verdicts"]["judge"] == "supported"]
    assert right(supported, documents) == 1.0
    # Held to the form of an answer; its documents before it, those of the whole group for global strategies.
    assert all("response_format" in asked for asked in judge.requests)
    assert len(judge.requests) == len(every)
    assert made.provenance.cost.generated_token_count > 30 * len(every)

    _, again = await derived(world, "again", **LINK, gates={"judge": JUDGE})
    assert again == rows
    assert len(judge.requests) == len(every)


async def test_what_a_judge_took_is_told_apart_and_has_its_own_price(world: Any, judge: ByTruth) -> None:
    few = {**SPEC, "strategies": ["reverse"]}
    plain = (await derived(world, "every", **few))[0].provenance
    assert plain.judge == ""
    assert not plain.HasField("judge_cost")
    assert float(plain.price.amount) == pytest.approx(plain.cost.compute_seconds / 1000, abs=1e-6)
    gates = {"judge": JUDGE, "likelier_than_contradiction": True}
    found = (await derived(world, "judged", **few, gates=gates))[0].provenance
    count = len(judge.requests)
    assert (found.judge, found.judge_sha256) == (JUDGE, "f" * 64)
    took = found.judge_cost
    assert (took.prompt_token_count, took.generated_token_count) == (70 * count, 30 * count)
    # The rest is of who wrote, weighing included; the whole is both.
    assert took.flops == 0
    assert found.cost.flops > plain.cost.flops
    assert found.cost.generated_token_count == plain.cost.generated_token_count + 30 * count
    own = (found.cost.compute_seconds - took.compute_seconds) / 1000
    far = (2 * 70 * count + 10 * 30 * count) / 1e6
    assert found.price.currency_code == "EUR"
    assert float(found.price.amount) == pytest.approx(own + far, abs=1e-6)
    (told,) = [note for note in found.notes if note.startswith("Prices of 2026-11-01, by seconds of ")]
    assert told.endswith(" and tokens of 'by-truth'.")
    # Of answers that were there already it is what they took then.
    again = (await derived(world, "again", **few, gates=gates))[0].provenance
    assert len(judge.requests) == count
    assert again.judge_cost == took


async def test_the_cheaper_gate_spares_the_judge(world: Any, judge: ByTruth) -> None:
    gates = {"judge": JUDGE, "likelier_than_contradiction": True}
    made, rows = await derived(world, "both", **LINK, gates=gates)
    unlikely = made.provenance.dropped_counts["unlikely"]
    assert unlikely > 0
    assert len(judge.requests) == len(rows) + made.provenance.dropped_counts["unfaithful"]


async def test_gates_that_cannot_be_asked_are_refused_at_once(world: Any, judge: ByTruth) -> None:
    user = world.user
    with pytest.raises(errors.WrongState) as caught:
        await user.datasets.augment("documents", JUDGE, gates={"likelier_than_contradiction": True})
    assert caught.value.reason == "MODEL_GIVES_NO_LOGPROBS"
    with pytest.raises(errors.NotFound):
        await user.datasets.augment("documents", "small", gates={"judge": "projects/demo/models/nobody"})
    with pytest.raises(errors.Invalid) as refused:
        await user.datasets.augment("documents", "small", gates={"near_duplicate_threshold": 1.5})
    assert [v.field for v in refused.value.field_violations] == ["spec.gates.near_duplicate_threshold"]
