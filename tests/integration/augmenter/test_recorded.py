"""Strategies that need a capable model, on a recorded endpoint: a server that speaks the API over a socket and gives answers
that were WRITTEN BY HAND for these tests. They show what becomes of such answers; no capable model was asked, and nothing
here says how good one would be.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from ingrain.v1 import common_pb2, trainer_pb2
from services.augmenter.parsing import SCHEMA
from services.augmenter.strategies.base import template_sha256

MODEL = "projects/demo/models/recorded"
TEXT = (
    "The lighthouse of Skara was built by Anna Berg in 1821. It stands above Torvik, and its light was moved to "
    "Torvik Museum in 1990."
)
OTHER = "Anna Berg, who lived in Torvik, never saw the sea before she was thirty."
DOCUMENTS = [{"id": "skara", "text": TEXT}, {"id": "berg", "text": OTHER}]

# By what is found in the prompt, the first that is: answers as a capable model might write them, by hand.
RECORDED = {
    "Write down the questions": (
        "1. Question: Who built the lighthouse of Skara? Answer: Anna Berg built the lighthouse of Skara in 1821.\n"
        "2. Question: What did Anna Berg build in 1821?\n   Answer: In 1821 Anna Berg built the lighthouse of Skara.\n"
        "3. Question: Where does it stand?"
    ),
    "in one sentence": "The lighthouse of Skara above Torvik, built by Anna Berg in 1821, lost its light to a museum in 1990.",
    "short paragraph": (
        "Anna Berg built the lighthouse of Skara in 1821. It stands above Torvik. In 1990 its light went to Torvik Museum."
    ),
    "key points": "- The builder of the lighthouse of Skara was Anna Berg.\n- The lighthouse of Skara dates from 1821.\n",
    "Name up to five ways": "1. Write a timeline of the text.\n2. Say who did what, from the person's end.\n",
    "Write a timeline": "In 1821 the lighthouse of Skara was built.\nIn 1990 its light came to Torvik Museum.",
    "Say who did what": "Anna Berg is the person who built the lighthouse of Skara.",
    "How are Anna Berg and Torvik related": (
        "Anna Berg lived in Torvik and built the lighthouse that stands above Torvik.\n"
        "Torvik is the place where Anna Berg lived and above which she built a lighthouse."
    ),
    "related?": "These texts say nothing of that",
}


class Recorded:
    """`refused`: how many requests that are held to a schema are answered with talk before one is answered as asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.refused: Counter[str] = Counter()
        self.takes_schemas = True
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.requests.append(asked)
        if "response_format" in asked and not self.takes_schemas:
            return web.json_response({"error": {"message": "response_format is not known"}}, status=400)
        return web.json_response(
            {
                "choices": [{"message": {"content": self.answer(asked)}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 50, "completion_tokens": 20},
            }
        )

    def answer(self, asked: dict[str, Any]) -> str:
        prompt = asked["messages"][-1]["content"]
        for document in DOCUMENTS:
            if f"As JSON: {document['text']}" in prompt:
                self.refused[document["id"]] -= 1
                if self.refused[document["id"]] >= 0:
                    return "Certainly! Here is what I found."
                return f"```json\n{{'statements': ['{document['id'].title()} is named in the text.', ]}}\n```"
        return next(answer for part, answer in RECORDED.items() if part in prompt)


@pytest.fixture
async def recorded(world: Any) -> AsyncIterator[Recorded]:
    server = Recorded()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    world.behind.models[MODEL] = trainer_pb2.Model(
        name=MODEL,
        state=common_pb2.ACTIVE,
        sha256="e" * 64,
        context_window=4000,
        chat_template=True,
        endpoint=trainer_pb2.Endpoint(base_url=server.url, model_id="by-hand", context_window=4000),
    )
    await world.user.datasets.upload(DOCUMENTS, id="skara")
    yield server
    await runner.cleanup()


async def derived(world: Any, **spec: Any) -> tuple[Any, list[dict[str, Any]]]:
    spec = {"samples_per_document": 1, "max_tokens": 300, **spec}
    operation = await world.user.datasets.augment("skara", MODEL, id="derived", **spec)
    made = await operation.result(timeout_s=60)
    return made.provenance, [row async for row in world.user.datasets.rows("derived")]


def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["text"] for row in rows]


async def test_a_question_and_its_answer_become_a_row(world: Any, recorded: Recorded) -> None:
    provenance, rows = await derived(world, strategies=["question_answer"])
    assert texts(rows) == [
        "Who built the lighthouse of Skara? Anna Berg built the lighthouse of Skara in 1821.",
        "What did Anna Berg build in 1821? In 1821 Anna Berg built the lighthouse of Skara.",
        "Where does it stand?",  # an answer that never came: nothing tells a question alone from a statement
    ]
    assert dict(provenance.dropped_counts) == {"duplicate": 3}  # the same was recorded for both documents
    assert {row["provenance"]["prompt_sha256"] for row in rows} == {
        template_sha256("default", "question_answer")
    }


async def test_each_level_of_a_summary_gives_its_statements(world: Any, recorded: Recorded) -> None:
    _, rows = await derived(world, strategies=["summarize"])
    assert len(rows) == 4
    assert texts(rows)[1].count(".") == 3
    assert texts(rows)[-1] == "The lighthouse of Skara dates from 1821."


async def test_ways_to_study_are_chosen_and_then_carried_out(world: Any, recorded: Recorded) -> None:
    provenance, rows = await derived(world, strategies=["active_reading"])
    assert provenance.prompt_count == 2 + 2 * 2  # each document has its ways, each way a prompt
    assert texts(rows) == [
        "In 1821 the lighthouse of Skara was built.",
        "In 1990 its light came to Torvik Museum.",
        "Anna Berg is the person who built the lighthouse of Skara.",
    ]
    assert "Write a timeline of the text." not in texts(rows)  # what opens is no statement
    assert {tuple(row["provenance"]["source_rows"]) for row in rows} == {("skara",)}


async def test_pairs_are_asked_about_with_all_that_has_both_in_sight(world: Any, recorded: Recorded) -> None:
    provenance, rows = await derived(world, strategies=["entity_pairs"])
    assert len(rows) == 2
    for row in rows:
        assert row["provenance"]["source_rows"] == row["provenance"]["read_rows"] == ["skara", "berg"]
    # What ends in the middle of a sentence is no statement; every pair that has no recording said that.
    assert provenance.dropped_counts["unparsable"] == provenance.prompt_count - 1
    assert provenance.dropped_examples["unparsable"].texts[0] == RECORDED["related?"]
    assert not provenance.notes  # what has both names is read, and nothing was left out for want of room


STRUCTURED = {
    "strategies": ["facts"],
    "prompts": [
        {"strategy": "facts", "text": "As JSON: {document}", "sees": "ONE_DOCUMENT", "structured": True}
    ],
}


async def test_broken_json_is_repaired_and_talk_is_asked_again(world: Any, recorded: Recorded) -> None:
    recorded.refused["skara"] = 2
    provenance, rows = await derived(world, **STRUCTURED)
    assert texts(rows) == ["Skara is named in the text.", "Berg is named in the text."]
    assert provenance.prompt_count == 2 + 2
    assert [row["provenance"]["sample"] for row in rows] == [128, 0]
    schemas = [asked["response_format"]["json_schema"]["schema"] for asked in recorded.requests]
    assert schemas == [json.loads(SCHEMA)] * 4
    assert len({asked["seed"] for asked in recorded.requests}) == 4


async def test_what_cannot_be_read_after_three_times_is_counted_with_an_example(
    world: Any, recorded: Recorded
) -> None:
    recorded.refused["skara"] = 100
    provenance, rows = await derived(world, **STRUCTURED)
    assert texts(rows) == ["Berg is named in the text."]
    assert provenance.prompt_count == 4
    assert dict(provenance.dropped_counts) == {"unparsable": 1}
    assert list(provenance.dropped_examples["unparsable"].texts) == ["Certainly! Here is what I found."]


async def test_a_server_that_takes_no_schema_is_asked_without_one(world: Any, recorded: Recorded) -> None:
    recorded.takes_schemas = False
    _, rows = await derived(world, **STRUCTURED)
    assert texts(rows) == ["Skara is named in the text.", "Berg is named in the text."]
    assert "response_format" not in recorded.requests[-1]
