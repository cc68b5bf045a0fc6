"""What is asked of models about statements, and what readings and refused schemas cost, without a service."""

import asyncio
from types import SimpleNamespace
from typing import Any

from ingrain import errors
from ingrain.v1 import augmenter_pb2, inference_pb2, trainer_pb2
from services.augmenter.generating import Generator
from services.augmenter.judging import Judging, of_model
from services.augmenter.outputs import InOrder
from services.augmenter.spec import resolve

SPEC = augmenter_pb2.AugmentationSpec(dataset="projects/p/datasets/d", model="projects/p/models/m")


class Inference:
    """Takes no schema."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def Generate(self, request: Any, timeout: float) -> inference_pb2.GenerateResponse:
        self.asked.append(request.json_schema)
        if request.json_schema:
            raise errors.Invalid("no schemas here", reason="BAD_SCHEMA")
        return inference_pb2.GenerateResponse()


def generator_of(inference: Any = None) -> Generator:
    client: Any = SimpleNamespace(stubs=SimpleNamespace(inference=inference))

    async def read_from() -> str:
        return SPEC.dataset

    return Generator(client, SPEC, resolve(SPEC), trainer_pb2.Model(name=SPEC.model), [], read_from)


async def test_a_schema_is_refused_once() -> None:
    inference = Inference()
    judge = of_model(generator_of(inference), trainer_pb2.Model(name="projects/p/models/judge"))
    for _ in range(3):
        await judge.generate(inference_pb2.GenerateRequest(json_schema="{}"))
    assert inference.asked == ["{}", "", "", ""]


def test_reading_a_context_is_a_part_of_what_the_first_call_took_and_of_no_other() -> None:
    writer = generator_of()
    writer.readings["a"] = [100.0, 0.0, 0.0, 8.0, 2.0]
    judge = of_model(writer, trainer_pb2.Model())
    usage = inference_pb2.Usage(prompt_token_count=10, generated_token_count=4)
    assert judge.shares("a", usage, 2) == [5.0, 0.0, 2.0, 0.0, 0.0]
    assert writer.shares("a", usage, 2) == [55.0, 0.0, 2.0, 4.0, 1.0]
    assert writer.shares("a", usage, 2) == [5.0, 0.0, 2.0, 0.0, 0.0]
    # An attempt that finds outputs in the store, and the context newer than the operation.
    again = generator_of()
    again.counted.add("a")
    again.readings["a"] = [100.0, 0.0, 0.0, 8.0, 2.0]
    assert again.shares("a", usage, 2) == [5.0, 0.0, 2.0, 0.0, 0.0]


async def test_what_no_rule_contradicts_is_not_weighed_and_counted() -> None:
    outputs: Any = SimpleNamespace(find=nothing)
    task: Any = SimpleNamespace(progress=nothing, target="projects/p/datasets/t")
    judging = Judging(outputs, task, generator_of(), None, lambda item: None, lambda model: 1, 1)
    statements: Any = [SimpleNamespace(text="Zumbo sing."), SimpleNamespace(text="Brevo dance.")]
    assert await judging.margins(statements) == [None, None]
    assert judging.uncontradicted_count == 2


async def test_what_reading_a_context_took_is_kept_before_anything_else_of_it() -> None:
    kept: list[str] = []

    async def keep(made_for: str, written: dict[str, Any], seen: Any, may_write_in: Any) -> None:
        (digest,) = written
        await asyncio.sleep({"first": 0.2, "other": 0.1}.get(digest, 0))
        kept.append(digest)

    outputs: Any = SimpleNamespace(keep=keep)
    task: Any = SimpleNamespace(target="projects/p/datasets/t", write_in=None)
    in_order = InOrder(outputs, task)
    contexts = {"first": "a", "second": "a", "other": "b", "free": None}
    await asyncio.gather(
        *(in_order.keep(context, {digest: ("", [])}, {}) for digest, context in contexts.items())
    )
    assert kept == ["free", "other", "first", "second"]


async def nothing(*arguments: Any) -> dict[str, Any]:
    return {}
