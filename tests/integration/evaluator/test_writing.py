"""Probes that the bundled model writes about documents whose truth is known."""

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ingrain import AsyncClient, errors
from ingrain.v1 import evaluator_pb2, trainer_pb2
from ingrain.worlds.comparisons import DIMENSIONS

PROJECT = "projects/demo"
SMALL = f"{PROJECT}/models/small"
SPEC = {
    "dataset": f"{PROJECT}/datasets/documents",
    "model": SMALL,
    "group_key": "world",
    "distinct_key": "fact",
    "style": evaluator_pb2.ProbeSpec.CLOZE,
}
OPPOSITE = {pole: found.opposite(pole) for found in DIMENSIONS for pole in (found.high, found.low)}
COMPARED = re.compile(r"(\w+) are ((?:more|less) \w+|\w+) than (\w+)\.$")
OWNED = re.compile(r"(\w+) is owned by the (\w+) team\.$")
USED = re.compile(r"(\w+) is an internal tool for (\w+ \w+)\.$")


class Truth:
    """What follows from the comparisons and the catalogue of a world."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.compared = {found.groups() for text in texts if (found := COMPARED.search(text))}
        self.owned = {found.groups() for text in texts if (found := OWNED.search(text))}
        self.used = {found.groups() for text in texts if (found := USED.search(text))}

    def of(self, statement: str) -> bool | None:
        """None: not told of here."""
        if found := COMPARED.search(statement):
            first, pole, second = found.groups()
            return {(first, pole, second), (second, OPPOSITE.get(pole, ""), first)} & self.compared != set()
        for pattern, facts, thing_first in (
            (OWNED, self.owned, True),
            (re.compile(r"(\w+) is in the hands of (\w+)\.$"), self.owned, True),
            (re.compile(r"The (\w+) team owns (.*)\.$"), self.owned, False),
            (USED, self.used, True),
            (re.compile(r"One internal tool for (\w+ \w+) is (\w+)\.$"), self.used, False),
            (re.compile(r"The internal tools for (\w+ \w+) are (.*)\.$"), self.used, False),
        ):
            if found := pattern.search(statement):
                things, of = found.groups() if thing_first else found.groups()[::-1]
                return all((thing, of) in facts for thing in re.split(r", | and ", things))
        return None


def request(id: str = "written", **changed: Any) -> evaluator_pb2.GenerateProbesRequest:
    about = {name: changed.pop(name) for name in ("validate_only", "request_id") if name in changed}
    spec = evaluator_pb2.ProbeSpec(**{**SPEC, **changed})
    return evaluator_pb2.GenerateProbesRequest(parent=PROJECT, dataset_id=id, spec=spec, **about)


async def generated(world: Any, wanted: evaluator_pb2.GenerateProbesRequest) -> Any:
    operation = await world.user.stubs.evaluator.GenerateProbes(wanted)
    return await world.user.operations.wait(operation, 300)


async def test_probes_are_true_and_say_where_they_come_from(world: Any, documents: Any) -> None:
    made = await generated(world, request())
    assert made.name == f"{PROJECT}/datasets/written"
    rows = world.datasets.rows[made.name]
    kept, dropped = (json.loads(made.labels[name]) for name in ("kept", "dropped"))
    assert kept == Counter(row["kind"] for row in rows)
    assert set(kept) >= {"verbatim", "reversal", "cross_document"}
    assert max(kept.values()) <= 30
    assert dropped["verbatim"] > 0
    assert dropped["not_answerable"] > 0
    assert "checked by the model that wrote them" in made.labels["trust"]
    assert made.labels["prompt_version"].startswith("cloze/1-")

    texts = {document["id"]: document["text"] for document in documents}
    verdicts = Counter()
    for row in rows:
        about, group = row["metadata"], row["metadata"]["world"]
        of_group = [d["text"] for d in documents if d["metadata"]["world"] == group]
        read = " ".join(texts[source] for source in about["sources"]).lower()
        assert row["answer"].rstrip(".").lower() in read
        assert row["answer"] in row["choices"]
        assert len(row["choices"]) >= 2
        statement = f"{row['prompt']} {row['answer']}"
        assert statement == about["statement"]
        assert any(statement in text for text in of_group) == (row["kind"] == "verbatim")
        assert about["checks"]["margin_with_sources"] > about["checks"]["margin_without"] or (
            about["checks"]["margin_without"] < 0
        )
        truth = Truth(of_group)
        others = [f"{row['prompt']} {choice}" for choice in row["choices"] if choice != row["answer"]]
        if truth.of(statement) is not None:
            verdicts[truth.of(statement) and not any(map(truth.of, others))] += 1
    assert verdicts.total() > 30
    assert verdicts[True] / verdicts.total() > 0.9

    # What was written and checked is there already; only another order of documents asks for more.
    calls = dict(world.behind.trouble.answered)
    again = await generated(world, request("again"))
    assert world.datasets.rows[again.name] == rows
    assert {name: world.behind.trouble.answered[name] for name in ("Generate", "Score")} == {
        name: calls[name] for name in ("Generate", "Score")
    }
    few = await generated(world, request("few", kinds=["reversal"], count_per_kind=2, seed=5))
    assert json.loads(few.labels["kept"]) == {"reversal": 2}
    assert [row["id"] for row in world.datasets.rows[few.name]] == ["reversal-0000", "reversal-0001"]
    # They are probes like any other.
    evaluated = await world.evaluated("icl", "written", dataset="documents", group_key="world")
    alone = await world.evaluated("alone", "written")
    reversal = {kind.kind: kind.value for kind in evaluated.kinds}["reversal"]
    assert reversal > {kind.kind: kind.value for kind in alone.kinds}["reversal"] + 0.2


async def test_a_rehearsal_of_writing_asks_nothing(world: Any, documents: Any) -> None:
    operation = await world.user.stubs.evaluator.GenerateProbes(request(validate_only=True))
    assert operation.done
    expected = await world.user.operations.wait(operation)
    assert expected.row_count == len(documents)
    assert expected.cost.prompt_token_count > 0
    assert expected.cost.generated_token_count > 0
    assert any("at most" in note for note in expected.notes)
    trouble = world.behind.trouble
    assert (trouble.calls["Generate"], trouble.calls["Score"]) == (0, 0)


async def test_what_cannot_be_written_is_refused_at_once(world: Any) -> None:
    remote = world.behind.models[f"{PROJECT}/models/remote"] = trainer_pb2.Model()
    remote.CopyFrom(world.behind.models[SMALL])
    remote.name = f"{PROJECT}/models/remote"
    remote.endpoint.base_url, remote.endpoint.model_id = "https://example.org/v1", "big"
    none = f"{PROJECT}/models/none"
    for wanted, kind, reason, field in (
        (request(kinds=["verbatim", "list"]), errors.Invalid, "UNKNOWN_KIND", "spec.kinds[1]"),
        (request(kinds=["nonsense"], style=0), errors.Invalid, "UNKNOWN_KIND", "spec.kinds[0]"),
        (request(model=remote.name), errors.Invalid, "NO_LOG_LIKELIHOODS", "spec.checker"),
        (request(checker=remote.name), errors.Invalid, "NO_LOG_LIKELIHOODS", "spec.checker"),
        (request(dataset=f"{PROJECT}/datasets/probes"), errors.Invalid, "NOT_DOCUMENTS", "spec.dataset"),
        (request(model=none), errors.NotFound, None, ""),
        (request("documents"), errors.AlreadyExists, "NAME_TAKEN", ""),
    ):
        with pytest.raises(kind) as caught:
            await world.user.stubs.evaluator.GenerateProbes(wanted)
        assert reason in (None, caught.value.reason)
        assert [v.field for v in caught.value.field_violations] == ([field] if field else [])
    operation = await world.user.stubs.evaluator.GenerateProbes(request(group_key="nowhere"))
    with pytest.raises(errors.OperationFailed) as failed:
        await world.user.operations.wait(operation, 60)
    assert failed.value.reason == "NO_GROUP"
    assert failed.value.field_violations[0].field == "rows[0].metadata.nowhere"
    world.datasets.add("two", [{"id": str(i), "text": "Nothing.", "metadata": {}} for i in range(2)])
    two = request("nothing", dataset=f"{PROJECT}/datasets/two", group_key="", distinct_key="")
    operation = await world.user.stubs.evaluator.GenerateProbes(two)
    with pytest.raises(errors.OperationFailed) as failed:
        await world.user.operations.wait(operation, 60)
    assert failed.value.reason == "NOTHING_KEPT"
    assert "unparsable" in failed.value.message


async def test_a_killed_writer_goes_on_where_it_was(
    settings: Any,
    behind: Any,
    datasets: Any,
    run_service: Callable[..., Any],
    speak: Callable[..., AsyncClient],
) -> None:
    doomed = run_service("evaluator", settings, failpoint="evaluator.after_batch:3")
    wanted = request(kinds=["reversal"], request_id="6b1f2f0e-26c1-4f0e-9d5c-0a4a5a9a1e11")
    async with speak(f"127.0.0.1:{settings.port}") as user:
        operation = await user.stubs.evaluator.GenerateProbes(wanted)
        assert operation.name.startswith(f"{PROJECT}/probesets/written/operations/")
        assert await asyncio.to_thread(doomed.wait, 60) == -signal.SIGKILL
        assert behind.trouble.answered["Generate"] + behind.trouble.answered["Score"] == 3
        run_service("evaluator", settings)
        made = await user.operations.wait(operation, 60)
        assert made.name == f"{PROJECT}/datasets/written"
        # Sent again, the request finds what it made, and another one of that name is refused.
        again = await user.stubs.evaluator.GenerateProbes(wanted)
        assert again.name == operation.name
        assert again.done
        with pytest.raises(errors.AlreadyExists):
            await user.stubs.evaluator.GenerateProbes(request(kinds=["reversal"]))
    asked = behind.trouble.answered["Generate"], behind.trouble.answered["Score"]
    waves = -(
        -len({(d["metadata"]["world"], d["metadata"]["fact"]) for d in datasets.rows[SPEC["dataset"]]}) // 16
    )
    assert asked[0] == waves  # each prompt once, over both processes
    assert asked[1] <= waves
