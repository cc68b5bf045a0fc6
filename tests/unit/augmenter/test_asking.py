"""How prompts are asked: side by side, once each, kept as they end. Store and database are real; inference answers by script."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingrain import errors
from ingrain.v1 import augmenter_pb2, datasets_pb2, inference_pb2, trainer_pb2
from servicekit import patience
from servicekit.database import Database
from servicekit.errors import Invalid
from servicekit.resources import Resources
from servicekit.storage import open_storage
from services.augmenter import generating
from services.augmenter.asking import Answers, Asking
from services.augmenter.datasets import Datasets
from services.augmenter.documents import documents_of
from services.augmenter.planning import SAMPLES, plan
from services.augmenter.rates import ALL, Rates
from services.augmenter.settings import AugmenterSettings
from services.augmenter.spec import resolve

ROWS = [{"id": f"d{n}", "text": f"fen{n} are older than tor{n}."} for n in range(20)]
OWN = augmenter_pb2.PromptTemplate(
    strategy="facts",
    text="{document} As JSON:",
    sees=augmenter_pb2.PromptTemplate.ONE_DOCUMENT,
    structured=True,
)
Answer = Callable[[str, inference_pb2.GenerateRequest], str]


class Inference:
    """Answers as `answer` says, each call after `takes_s`. `troubles`: what the next calls end in instead."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.calls: list[inference_pb2.GenerateRequest] = []
        self.at_once = self.most_at_once = 0
        self.takes_s = 0.0
        self.troubles: list[Exception | None] = []
        self.answer: Answer = lambda prompt, request: f"{prompt} ({request.seed})"

    async def Generate(self, request: Any, timeout: float) -> inference_pb2.GenerateResponse:
        self.calls.append(inference_pb2.GenerateRequest.FromString(request.SerializeToString()))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.takes_s)
            if self.troubles and (trouble := self.troubles.pop(0)):
                raise trouble
            self.asked.update((prompt, request.seed) for prompt in request.prompts)
            written = [
                inference_pb2.Generation(text=self.answer(prompt, request), token_count=3)
                for prompt in request.prompts
            ]
            usage = inference_pb2.Usage(
                prompt_token_count=8 * len(written), generated_token_count=3, flops=1.0
            )
            return inference_pb2.GenerateResponse(generations=written, usage=usage)
        finally:
            self.at_once -= 1


class Bench:
    """Derivations over one store."""

    def __init__(self, folder: Path) -> None:
        self.settings = AugmenterSettings(
            storage=f"file://{folder}/storage", prompt_batch=4, prompt_calls=3, patience_s=0.2
        )
        self.database = Database(f"sqlite:///{folder}/augmenter.db", schema="augmenter")
        rows = Resources(self.database, datasets_pb2.Dataset, "datasets")
        self.datasets = Datasets(self.settings, open_storage(self.settings), rows)
        self.inference = Inference()
        self.told: list[tuple[str, int, int, str]] = []

    def asking(self, target: str = "one", endpoint: bool = False, **given: Any) -> Asking:
        fields = {"strategies": ["rephrase"], "samples_per_document": 1, **given}
        asked = augmenter_pb2.AugmentationSpec(dataset="d", model="m", **fields)
        spec = resolve(asked)
        model = trainer_pb2.Model(sha256="m" * 64)
        if endpoint:
            model.endpoint.model_id = "large"
        task: Any = SimpleNamespace(
            target=target,
            project="projects/p",
            created_s=time.time(),
            progress=self._tell,
            write_in=lambda connection: None,
        )
        client: Any = SimpleNamespace(stubs=SimpleNamespace(inference=self.inference))
        source = datasets_pb2.Dataset(name="d")
        documents = documents_of(ROWS, spec)
        return Asking(self.settings, self.datasets, task, client, asked, spec, source, model, documents)

    async def answers(self, target: str = "one", **given: Any) -> Answers:
        asking = self.asking(target, **given)
        return await asking.answers(plan(asking.spec, asking.documents))

    async def _tell(self, stage: str, done: int, total: int, unit: str, message: str) -> None:
        self.told.append((stage, done, total, message))


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.005)
    made = Bench(tmp_path)
    await made.database.create_all()
    yield made
    await made.database.close()


async def test_calls_are_side_by_side_and_answers_in_the_order_of_the_plan(bench: Bench) -> None:
    bench.inference.takes_s = 0.02
    answers = await bench.answers()
    assert [text.split()[0] for text in answers.texts] == [f"fen{n}" for n in range(20)]
    assert bench.inference.most_at_once == 3
    assert [len(call.prompts) for call in bench.inference.calls] == [4] * 5
    assert {call.priority for call in bench.inference.calls} == {inference_pb2.BULK}
    assert (answers.prompt_count, answers.reused_count) == (20, 0)
    assert answers.cost.prompt_token_count == 160
    assert bench.told[-1][1:3] == (20, 20)
    assert any("prompts/s, about" in message for *_, message in bench.told)


async def test_the_same_is_asked_once_and_found_the_next_time(bench: Bench) -> None:
    first = await bench.answers("one")
    again = await bench.answers("two")
    assert again.texts == first.texts
    assert (again.prompt_count, again.reused_count) == (20, 20)
    assert again.cost == first.cost
    assert set(bench.inference.asked.values()) == {1}


async def test_two_at_the_same_time_ask_each_prompt_once(bench: Bench) -> None:
    bench.inference.takes_s = 0.01
    some = {"strategies": ["rephrase", "infer"]}
    first, second = await asyncio.gather(bench.answers("one"), bench.answers("two", **some))
    assert second.texts[:20] == first.texts
    assert second.reused_count + first.reused_count == 20
    assert set(bench.inference.asked.values()) == {1}
    assert len(bench.inference.asked) == 40


async def test_what_another_gives_up_is_asked_here(bench: Bench) -> None:
    bench.inference.takes_s = 0.05
    doomed = asyncio.create_task(bench.answers("one"))
    await asyncio.sleep(0.02)
    waiting = asyncio.create_task(bench.answers("two"))
    await asyncio.sleep(0.01)
    doomed.cancel()
    assert len((await waiting).texts) == 20
    with pytest.raises(asyncio.CancelledError):
        await doomed


async def test_an_output_that_cannot_be_read_is_asked_for_again_with_another_seed(bench: Bench) -> None:
    def answer(prompt: str, request: inference_pb2.GenerateRequest) -> str:
        tries = sum(count for (asked, _), count in bench.inference.asked.items() if asked == prompt)
        if prompt.startswith("fen1 ") and tries < 3:
            return "I cannot do that"
        if prompt.startswith("fen2 "):
            return "never"
        return json.dumps({"statements": [f"{prompt} yes."]})

    bench.inference.answer = answer
    own = {"strategies": ["facts"], "prompts": [OWN]}
    answers = await bench.answers("one", **own)
    asked = Counter(prompt.split()[0] for prompt, _ in bench.inference.asked)
    assert (asked.pop("fen1"), asked.pop("fen2")) == (3, 3)
    assert set(asked.values()) == {1}
    assert [item.sample for item in answers.items[:4]] == [0, 2 * SAMPLES, 2 * SAMPLES, 0]
    assert "yes." in answers.texts[1]
    assert answers.texts[2] == "never"
    assert answers.prompt_count == 24
    assert all("statements" in call.json_schema for call in bench.inference.calls)
    same = await bench.answers("two", **own)
    assert same.texts == answers.texts
    assert set(bench.inference.asked.values()) == {1}
    await bench.answers("three", **own, temperature=0.0)  # greedy says the same again
    assert sum(count for (prompt, _), count in bench.inference.asked.items() if "fen2 " in prompt) == 4


async def test_a_model_that_takes_no_schema_is_asked_without(bench: Bench) -> None:
    bench.inference.troubles = [errors.Invalid("no response_format here", reason="ENDPOINT_REFUSED")] * 2
    bench.inference.answer = lambda prompt, request: '{"statements": ["It is so."]}'
    await bench.answers(strategies=["facts"], prompts=[OWN], endpoint=True)
    assert [bool(call.json_schema) for call in bench.inference.calls].count(True) == 2
    assert set(bench.inference.asked.values()) == {1}


async def test_the_plain_ask_does_not_depend_on_the_word_structured(bench: Bench) -> None:
    plain = augmenter_pb2.PromptTemplate.FromString(OWN.SerializeToString())
    plain.structured = False
    bench.inference.answer = lambda prompt, request: '{"statements": ["It is so."]}'
    await bench.answers(strategies=["facts"], prompts=[plain])
    await bench.answers(strategies=["facts"], prompts=[OWN])
    assert set(bench.inference.asked.values()) == {2}  # another output may come back


async def test_what_passes_is_waited_for(bench: Bench) -> None:
    away = errors.Unavailable("away")
    full = errors.Exhausted("full", retry_after_s=0.001)
    bench.inference.troubles = [away, full, None, away, None, full]
    assert len((await bench.answers()).texts) == 20
    assert set(bench.inference.asked.values()) == {1}


async def test_patience_has_an_end_and_what_was_finished_is_kept(bench: Bench) -> None:
    bench.inference.troubles = [None, None] + [errors.Unavailable("away")] * 1000
    with pytest.raises(errors.Unavailable):
        await bench.answers()
    assert len(bench.inference.asked) == 8
    bench.inference.troubles = []
    again = await bench.answers()
    assert len(again.texts) == 20
    assert set(bench.inference.asked.values()) == {1}
    assert again.reused_count == 0  # the same derivation's own


async def test_an_engine_that_is_full_with_slow_calls_of_ours_is_waited_for(bench: Bench) -> None:
    class Narrow(Inference):
        async def Generate(self, request: Any, timeout: float) -> inference_pb2.GenerateResponse:
            if self.at_once:
                raise errors.Exhausted("full", retry_after_s=0.001)
            return await super().Generate(request, timeout)

    bench.inference = Narrow()
    bench.inference.takes_s = 0.15
    bench.settings = bench.settings.model_copy(update={"patience_s": 0.05})
    assert len((await bench.answers()).texts) == 20
    assert set(bench.inference.asked.values()) == {1}


async def test_a_failure_begins_no_call_and_loses_none_that_is_under_way(bench: Bench) -> None:
    bench.inference.takes_s = 0.02
    bench.inference.troubles = [errors.Invalid("no", reason="NO")]
    with pytest.raises(errors.Invalid):
        await bench.answers()
    assert len(bench.inference.calls) == 3
    assert len(bench.inference.asked) == 8
    await bench.answers()
    assert set(bench.inference.asked.values()) == {1}


async def test_a_refused_prompt_is_said_of_its_document(bench: Bench) -> None:
    named = errors.FieldViolation("prompts[1]", "too long")
    bench.inference.troubles = [None, errors.Invalid("long", reason="LONG", field_violations=[named])]
    bench.settings = bench.settings.model_copy(update={"prompt_calls": 1})
    with pytest.raises(Invalid, match="rephrase of document 'd5': long") as caught:
        await bench.answers()
    assert caught.value.field == "documents['d5']"


async def test_a_message_that_is_too_big_is_asked_in_halves(bench: Bench) -> None:
    class Small(Inference):
        async def Generate(self, request: Any, timeout: float) -> inference_pb2.GenerateResponse:
            if len(request.prompts) > 1:
                raise errors.Invalid("too big", reason="RESPONSE_TOO_BIG")
            return await super().Generate(request, timeout)

    bench.inference = Small()
    answers = await bench.answers()
    assert len(set(answers.texts)) == 20
    assert set(bench.inference.asked.values()) == {1}


async def test_the_one_prompt_that_a_server_refuses_is_found(bench: Bench) -> None:
    class Choosy(Inference):
        async def Generate(self, request: Any, timeout: float) -> inference_pb2.GenerateResponse:
            if any(prompt.startswith("fen6 ") for prompt in request.prompts):
                raise errors.Invalid("not that", reason="ENDPOINT_REFUSED")
            return await super().Generate(request, timeout)

    bench.inference = Choosy()
    with pytest.raises(Invalid, match="of document 'd6': not that"):
        await bench.answers(endpoint=True)


async def test_a_prompt_beyond_the_limit_is_refused_before_it_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "GREATEST_PROMPT_BYTES", 20)
    with pytest.raises(Invalid, match="bytes") as caught:
        await bench.answers()
    assert caught.value.reason == "PROMPT_TOO_BIG"
    assert not bench.inference.calls


async def test_cancelling_keeps_what_is_finished(bench: Bench) -> None:
    bench.inference.takes_s = 0.05
    asking = asyncio.create_task(bench.answers())
    while len(bench.inference.asked) < 12:
        await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    finished = len(bench.inference.asked)
    assert finished < 20
    again = await bench.answers("two")
    assert set(bench.inference.asked.values()) == {1}
    assert again.reused_count == finished


async def test_another_server_is_asked_in_small_calls(bench: Bench) -> None:
    bench.settings = bench.settings.model_copy(update={"endpoint_prompt_batch": 2})
    await bench.answers(endpoint=True)
    assert [len(call.prompts) for call in bench.inference.calls] == [2] * 10


async def test_rates_are_noted_for_later_estimates(bench: Bench) -> None:
    await bench.answers("one", strategies=["rephrase", "infer"])
    rates = await Rates(bench.database, "projects/p").of("m" * 64)
    assert set(rates) == {ALL, "rephrase", "infer"}
    rate, source = rates["infer"]
    assert (rate.prompt_count, rate.written_each, source) == (20, 3.0, "one")
    assert rates[ALL][0].prompt_count == 40
    assert rates[ALL][0].wall_seconds > 0
    await bench.answers("two", strategies=["rephrase", "infer"])  # from the store: nothing was measured
    assert (await Rates(bench.database, "projects/p").of("m" * 64))["infer"][1] == "one"


async def test_a_strategy_of_two_steps_asks_on_and_only_the_second_counts(bench: Bench) -> None:
    bench.inference.answer = lambda prompt, request: "1. as a list\n2. as a story"
    asking = bench.asking(strategies=["active_reading"])
    opened = await asking.answers(plan(asking.spec, asking.documents))
    assert all(item.ask.opens for item in opened.items)
    answers = await asking.more(opened)
    assert not any(item.ask.opens for item in answers.items)
    assert len(answers.items) == 2 * len(ROWS)
    assert answers.prompt_count == 3 * len(ROWS)
    assert answers.cost.prompt_token_count == 8 * 3 * len(ROWS)
    assert len({item.number for item in answers.items}) == 2 * len(ROWS)
