"""Batches over the real engine and the bundled model: the same answers as asked one by one."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, datasets_pb2, datasets_pb2_grpc
from servicekit import identity
from servicekit.database import Database
from servicekit.operations import Operations
from servicekit.resources import Resources
from servicekit.storage import open_storage
from services.augmenter.datasets import Datasets, DatasetsServicer
from services.augmenter.settings import AugmenterSettings

DOCUMENTS = [
    {"id": "1", "text": "The bralo is bigger than the cemid."},
    {"id": "2", "text": "A dovun is old."},
]


@pytest.fixture
async def datasets_behind(tmp_path: Path, bundled: Any) -> Any:
    settings = AugmenterSettings(
        database_url=f"sqlite:///{tmp_path}/augmenter.db", storage=f"file://{bundled[0]}"
    )
    database = Database(settings.database_url)
    await database.create_all()
    rows = Resources(database, datasets_pb2.Dataset, "datasets")
    servicer = DatasetsServicer(
        Datasets(settings, open_storage(settings), rows), Operations(database, {"datasets": rows})
    )

    def add(server: grpc.aio.Server) -> None:
        datasets_pb2_grpc.add_DatasetsServicer_to_server(servicer, server)

    yield add
    await database.close()


async def test_a_batch_says_what_single_questions_say(stand_behind: Any, datasets_behind: Any) -> None:
    prompts = [f"Question: What is number {number}?\nAnswer:" for number in range(40)]
    rows: list[dict[str, Any]] = [{"id": f"r{n}", "prompt": prompt} for n, prompt in enumerate(prompts)]
    rows[7]["prompt"] = "word " * 5000  # no room in the window
    rows[8]["parameters"] = {"logprobs": True, "top_logprobs": 2, "max_tokens": 3}
    async with stand_behind(datasets_behind) as behind:
        metadata = ((identity.ON_BEHALF_OF, "projects/demo"),)
        async with AsyncClient(behind.target, project="demo", metadata=metadata) as client:
            await client.datasets.upload(DOCUMENTS, id="docs")
            await client.datasets.upload(rows, id="asked", kind="prompts")
            operation = await client.batches.create("icl:docs@small", "asked", "b-1", max_tokens=6)
            await operation.result(timeout_s=60)
            batch = await client.batches.get("b-1")
            answers = [row async for row in client.batches.results("b-1")]
            alone = await client.generate("icl:docs@small", [prompts[3], prompts[39]], max_tokens=6)
            probes = [{"id": "p", "kind": "k", "prompt": "The bralo is", "choices": ["big.", "old."]}]
            await client.datasets.upload([probes[0] | {"answer": "big."}], id="probes")
            scored = await (await client.batches.create("small", "probes", "b-2")).result(timeout_s=60)
            (row,) = [row async for row in client.datasets.rows(scored.name)]
            plain = await client.score("small", [("The bralo is", ["big.", "old."])])
    assert (batch.state, batch.answered_count, batch.error_count) == (common_pb2.ACTIVE, 40, 1)
    assert [answers[3]["completion"], answers[39]["completion"]] == [g.text for g in alone.generations]
    assert answers[7]["error"]["code"] == "PROMPT_TOO_LONG"
    assert len(answers[8]["tokens"]) == answers[8]["token_count"] <= 3
    assert all(len(token["top"]) == 2 and token["logprob"] <= 0 for token in answers[8]["tokens"])
    assert batch.cost.cached_token_count > 0  # the documents are read once
    assert batch.cost.compute_seconds > 0
    assert [score["sum_logprob"] for score in row["scores"]] == pytest.approx(
        [choice.sum_logprob for choice in plain.items[0].choices], abs=1e-4
    )
