"""Never lost, never twice: killed anywhere, cancelled, or asked for by two at once. Inference answers by script, over a socket."""

import asyncio
import hashlib
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2

from ingrain import AsyncClient, errors
from ingrain.v1 import (
    common_pb2,
    inference_pb2,
    inference_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.augmenter.__main__ import assemble
from services.augmenter.settings import AugmenterSettings

DOCUMENTS = [
    {"id": f"d{n}", "text": f"fen{n} are older than tor{n}.", "metadata": {"world": "ab"[n % 2]}}
    for n in range(10)
]
SPEC = {"group_key": "world", "strategies": ["rephrase", "link"], "samples_per_document": 2, "seed": 3}
PROMPTS = 2 * 2 * len(DOCUMENTS)
BATCH, CALLS = 4, 3
CONTEXT_TOKENS = 50
SUPPORTED = '{"claims": [{"claim": "It is.", "verdict": "supported"}]}'  # what a judge says


def answer(prompt: str, seed: int) -> str:
    return f"It is {hashlib.sha256(f'{seed} {prompt}'.encode()).hexdigest()[:12]}."


class Gateway(trainer_pb2_grpc.TrainerServicer, inference_pb2_grpc.InferenceServicer):
    """`most`: so many calls of Generate are answered, further ones wait until `go` is set. `failing`: so many fail."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int, str]] = Counter()
        self.contexts: dict[str, inference_pb2.Context] = {}
        self.calls = 0
        self.under_way = 0
        self.most = 1 << 30
        self.failing = 0
        self.go = asyncio.Event()
        self.target = ""

    async def quiet(self) -> None:
        """Until calls of one that was killed have ended, those too that it sent with its last breath and that have not arrived yet."""
        seen, looks = -1, 0
        while self.under_way or looks < 20:
            looks = looks + 1 if self.calls == seen else 0
            seen = self.calls
            await asyncio.sleep(0.05)

    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        return trainer_pb2.Model(name=request.name, state=common_pb2.ACTIVE, sha256="m" * 64)

    async def CountTokens(self, request: Any, context: Any) -> inference_pb2.CountTokensResponse:
        return inference_pb2.CountTokensResponse(token_counts=[len(text) // 4 for text in request.texts])

    async def CreateContext(self, request: Any, context: Any) -> operations_pb2.Operation:
        name = f"{request.parent}/contexts/{request.context_id}"
        if name not in self.contexts:
            cost = common_pb2.Cost(prompt_token_count=CONTEXT_TOKENS)
            self.contexts[name] = inference_pb2.Context(name=name, state=common_pb2.ACTIVE, cost=cost)
            self.contexts[name].create_time.GetCurrentTime()
        done = operations_pb2.Operation(name=f"{name}/operations/1", done=True)
        done.response.Pack(self.contexts[name])
        return done

    async def GetContext(self, request: Any, context: Any) -> inference_pb2.Context:
        return self.contexts[request.name]

    async def Generate(self, request: Any, context: Any) -> inference_pb2.GenerateResponse:
        self.calls += 1
        self.under_way += 1
        try:
            return await self._generate(request, context)
        finally:
            self.under_way -= 1

    async def _generate(self, request: Any, context: Any) -> inference_pb2.GenerateResponse:
        if self.calls > self.most:
            await self.go.wait()
        await asyncio.sleep(0.02)
        if self.failing and self.calls > 2:
            self.failing -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the engine is away")
        self.asked.update((prompt, request.seed, request.context) for prompt in request.prompts)
        written = [
            inference_pb2.Generation(text=SUPPORTED if request.json_schema else text, token_count=5)
            for text in (answer(prompt, request.seed) for prompt in request.prompts)
        ]
        count = len(written)
        usage = inference_pb2.Usage(prompt_token_count=9 * count, generated_token_count=5 * count)
        return inference_pb2.GenerateResponse(generations=written, usage=usage, model=request.model)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    server = new_server(ServiceSettings(), [])
    trainer_pb2_grpc.add_TrainerServicer_to_server(made, server)
    inference_pb2_grpc.add_InferenceServicer_to_server(made, server)
    made.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield made
    made.go.set()
    await server.stop(0)


@pytest.fixture
def scripted(settings: AugmenterSettings, gateway: Gateway) -> AugmenterSettings:
    changes = {"gateway": gateway.target, "prompt_batch": BATCH, "prompt_calls": CALLS, "lease_s": 2.0}
    return settings.model_copy(update=changes)


@pytest.fixture
async def user(
    scripted: AugmenterSettings, serve_parts: Any, speak: Callable[..., AsyncClient]
) -> AsyncIterator[AsyncClient]:
    """Of an augmenter in this process, with the documents."""
    async with serve_parts(scripted, await assemble(scripted)) as target:
        async with speak(target) as client:
            await client.datasets.upload(DOCUMENTS, id="documents")
            yield client


async def derived(client: AsyncClient, id: str, **more: Any) -> tuple[Any, list[dict[str, Any]]]:
    operation = await client.datasets.augment("documents", "m", id=id, **{**SPEC, **more})
    made = await operation.result(timeout_s=60)
    return made, [row async for row in client.datasets.rows(id)]


def kept_count(settings: AugmenterSettings) -> int:
    """Outputs that a next attempt finds."""
    path = settings.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        (table,) = connection.execute(
            "select name from sqlite_master where name like '%augmenter_output'"
        ).fetchone()
        return int(connection.execute(f'select count(*) from "{table}"').fetchone()[0])


@pytest.mark.parametrize(
    "failpoint",
    [
        "worker.before_claim_commit",
        "worker.after_claim",
        "worker.after_progress:2",
        "augmenter.after_object:1",
        "augmenter.after_object:6",
        "augmenter.after_batch:1",
        "augmenter.after_batch:7",
        "augmenter.after_batch:14",
        "storage.before_rename:5",
        "storage.after_rename:17",  # the rows
        "storage.before_rename:18",  # and their manifest
        "worker.before_finish",
        "worker.before_finish_commit",
        "worker.after_finish",
    ],
)
async def test_killed_anywhere_it_ends_with_the_same_rows_and_asks_nothing_twice(
    failpoint: str,
    scripted: AugmenterSettings,
    gateway: Gateway,
    run_service: Callable[..., Any],
    speak: Callable[..., AsyncClient],
) -> None:
    """Only what was under way at that moment is asked again: exactly what is not in the store."""
    doomed = run_service("augmenter", scripted, failpoint=failpoint)
    async with speak(f"127.0.0.1:{scripted.port}") as client:
        await client.datasets.upload(DOCUMENTS, id="documents")
        operation = await client.datasets.augment("documents", "m", id="derived", **SPEC)
        assert await asyncio.to_thread(doomed.wait, 60) == -signal.SIGKILL
        await gateway.quiet()
        before, kept = gateway.asked.total(), kept_count(scripted)
        assert kept <= before <= kept + BATCH * CALLS
        run_service("augmenter", scripted)
        made = await operation.result(timeout_s=60)
        rows = [row async for row in client.datasets.rows("derived")]

        assert gateway.asked.total() - before == PROMPTS - kept
        assert len(gateway.asked) == PROMPTS
        assert len({row["id"] for row in rows}) == len(rows) == PROMPTS
        assert {row["text"] for row in rows} == {answer(prompt, seed) for prompt, seed, _ in gateway.asked}
        assert len(gateway.contexts) == 2
        provenance = made.provenance
        assert (provenance.prompt_count, provenance.reused_prompt_count) == (PROMPTS, 0)
        assert (
            provenance.cost.prompt_token_count == 9 * PROMPTS + 2 * CONTEXT_TOKENS
        )  # each context read once
        assert provenance.cost.generated_token_count == 5 * PROMPTS

        again, same = await derived(client, "again")
        assert gateway.asked.total() - before == PROMPTS - kept
        assert (again.sha256, same) == (made.sha256, rows)
        assert again.provenance.reused_prompt_count == PROMPTS
        assert again.provenance.cost.prompt_token_count == provenance.cost.prompt_token_count


@pytest.mark.parametrize("batch", [16, 20, 22, 24])
async def test_killed_while_a_judge_reads_its_verdicts_and_its_readings_are_kept(
    batch: int,
    scripted: AugmenterSettings,
    gateway: Gateway,
    run_service: Callable[..., Any],
    speak: Callable[..., AsyncClient],
) -> None:
    """The first fourteen batches are the writer's. Of the judge's context of each group, too, the reading is counted once."""
    doomed = run_service("augmenter", scripted, failpoint=f"augmenter.after_batch:{batch}")
    spec = {**SPEC, "gates": {"judge": "j"}}
    async with speak(f"127.0.0.1:{scripted.port}") as client:
        await client.datasets.upload(DOCUMENTS, id="documents")
        operation = await client.datasets.augment("documents", "m", id="derived", **spec)
        assert await asyncio.to_thread(doomed.wait, 60) == -signal.SIGKILL
        await gateway.quiet()
        before, kept = gateway.asked.total(), kept_count(scripted)
        assert PROMPTS < kept <= before <= kept + BATCH * CALLS
        run_service("augmenter", scripted)
        made = await operation.result(timeout_s=60)
        assert gateway.asked.total() - before == 2 * PROMPTS - kept
        assert len(gateway.contexts) == 4
        cost = made.provenance.cost
        assert cost.prompt_token_count == 9 * 2 * PROMPTS + 4 * CONTEXT_TOKENS
        assert cost.generated_token_count == 5 * 2 * PROMPTS


async def test_what_was_finished_when_it_was_cancelled_is_not_asked_again(
    user: AsyncClient, gateway: Gateway, scripted: AugmenterSettings
) -> None:
    gateway.most = 5
    operation = await user.datasets.augment("documents", "m", id="late", **SPEC)
    while gateway.calls < 5 + CALLS:
        await asyncio.sleep(0.02)
    await operation.cancel()
    with pytest.raises(errors.OperationCancelled):
        await operation.result(timeout_s=30)
    finished = kept_count(scripted)
    assert gateway.asked.total() == finished >= 5
    gateway.most = 1 << 30
    made, rows = await derived(user, "later")
    assert set(gateway.asked.values()) == {1}
    assert len(rows) == PROMPTS
    assert made.provenance.reused_prompt_count == finished


async def test_an_attempt_that_is_over_keeps_nothing_that_it_is_still_told(
    scripted: AugmenterSettings,
    gateway: Gateway,
    serve_parts: Callable[..., Any],
    speak: Callable[..., AsyncClient],
) -> None:
    """As of a process that stood still for longer than its lease: what it read may have been withdrawn since."""
    quiet = scripted.model_copy(update={"lease_s": 600.0})
    gateway.most = 0
    async with serve_parts(quiet, await assemble(quiet)) as target, speak(target) as client:
        await client.datasets.upload(DOCUMENTS, id="documents")
        await client.datasets.augment("documents", "m", id="late", **SPEC)
        while gateway.calls < CALLS:
            await asyncio.sleep(0.02)
        with sqlite3.connect(quiet.database_url.removeprefix("sqlite:///")) as connection:
            (table,) = connection.execute(
                "select name from sqlite_master where name like '%operation'"
            ).fetchone()
            changed = connection.execute(f'update "{table}" set fence = fence + 1, state = ?', ("FAILED",))
            assert changed.rowcount == 1
        gateway.go.set()
        await gateway.quiet()
        assert gateway.asked.total() >= CALLS
        objects = Path(quiet.storage.removeprefix("file://"))
        async with asyncio.timeout(30):
            while list(objects.rglob("outputs/*.json")):
                await asyncio.sleep(0.05)
    assert kept_count(quiet) == 0
    assert not list(objects.rglob("outputs/*.json"))


async def test_what_is_derived_of_just_now_is_not_swept(
    user: AsyncClient, gateway: Gateway, scripted: AugmenterSettings
) -> None:
    gateway.most = 0
    spec = {"strategies": ["rephrase"], "samples_per_document": 1, "original_copies": 1}
    operation = await user.datasets.augment("documents", "m", id="held", **spec)
    while not gateway.calls:
        await asyncio.sleep(0.02)
    await user.datasets.delete("documents")
    parts = await assemble(scripted)
    assert await parts.sweeping.sweep(-1.0) == []
    gateway.go.set()
    made = await operation.result(timeout_s=30)
    assert made.row_count == 2 * len(DOCUMENTS)
    await user.datasets.delete("held")
    while await parts.sweeping.sweep(-1.0):
        pass
    assert not list(Path(scripted.storage.removeprefix("file://")).rglob("rows.jsonl"))
    await parts.database.close()


async def test_the_same_asked_for_by_two_at_once_is_asked_once(user: AsyncClient, gateway: Gateway) -> None:
    (first, rows), (second, same) = await asyncio.gather(derived(user, "first"), derived(user, "second"))
    assert set(gateway.asked.values()) == {1}
    assert len(gateway.asked) == PROMPTS
    assert (first.sha256, rows) == (second.sha256, same)
    reused = first.provenance.reused_prompt_count + second.provenance.reused_prompt_count
    assert reused == PROMPTS


async def test_progress_tells_how_much_is_left_and_for_how_long(user: AsyncClient, gateway: Gateway) -> None:
    gateway.most = 6
    operation = await user.datasets.augment("documents", "m", id="watched", **SPEC)
    while "left" not in (await operation.refresh()).metadata.message:
        await asyncio.sleep(0.05)
    told = operation.metadata
    assert (told.stage, told.unit, told.total_count) == ("generating", "prompts", PROMPTS)
    assert 0 < told.completed_count < PROMPTS
    gateway.go.set()
    await operation.result(timeout_s=30)


async def test_inference_that_is_away_for_a_while_costs_no_attempt(
    user: AsyncClient, gateway: Gateway
) -> None:
    """Longer than the client itself tries again."""
    gateway.failing = 14
    await derived(user, "one")
    (operation,) = [found async for found in user.operations.list("datasets/one")]
    assert (await operation.refresh()).metadata.attempt_count == 1
    assert set(gateway.asked.values()) == {1}
    assert gateway.failing == 0


def test_failpoints_of_a_derivation_are_all_tried() -> None:
    """What is added to the way of a derivation must be added above."""
    files = [Path(__file__).parents[3] / "services/augmenter" / name for name in ("outputs.py", "rounds.py")]
    named = {part.split('"')[0] for file in files for part in file.read_text().split('failpoint("')[1:]}
    (mark,) = test_killed_anywhere_it_ends_with_the_same_rows_and_asks_nothing_twice.pytestmark
    assert named <= {name.partition(":")[0] for name in mark.args[1]}
