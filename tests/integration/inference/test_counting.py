"""Tokens in the metrics are those that callers were told."""

from ingrain import AsyncClient
from ingrain.v1 import inference_pb2
from servicekit import metrics

BASE = "projects/demo/models/base"
WAYS = ("input", "cached", "output")


def counted(kind: str) -> list[float]:
    return [
        metrics.REGISTRY.get_sample_value("ingrain_tokens_total", {"kind": kind, "direction": way}) or 0.0
        for way in WAYS
    ]


def grown(kind: str, before: list[float]) -> list[float]:
    return [now - was for now, was in zip(counted(kind), before, strict=True)]


def told(*answers: inference_pb2.Usage) -> list[float]:
    """Prompts' tokens include the cached ones."""
    read = sum(one.prompt_token_count - one.cached_token_count for one in answers)
    return [
        read,
        sum(one.cached_token_count for one in answers),
        sum(one.generated_token_count for one in answers),
    ]


async def test_tokens_are_counted_as_they_are_told(client: AsyncClient) -> None:
    before = {kind: counted(kind) for kind in ("generate", "score", "context")}
    generate = inference_pb2.GenerateRequest(
        parent="projects/demo", model=BASE, prompts=["the cemid is", "the bralo"], max_tokens=4
    )
    answer = await client.stubs.inference.Generate(generate)
    generate.prompts.pop()
    pieces = [piece async for piece in client.stubs.inference.StreamGenerate(generate)]
    assert grown("generate", before["generate"]) == told(answer.usage, pieces[-1].usage)
    context = inference_pb2.Context(model=BASE, dataset="projects/demo/datasets/documents")
    made = await client.operations.wait(
        await client.stubs.inference.CreateContext(
            inference_pb2.CreateContextRequest(parent="projects/demo", context=context)
        )
    )
    assert grown("context", before["context"]) == [
        made.cost.prompt_token_count,
        made.cost.cached_token_count,
        0,
    ]
    item = inference_pb2.ScoreItem(prompt="the cemid is", choices=["smaller than the bralo.", "old."])
    score = inference_pb2.ScoreRequest(model=BASE, context=made.name, items=[item])
    scored = await client.stubs.inference.Score(score)
    assert scored.usage.cached_token_count > 0
    assert grown("score", before["score"]) == told(scored.usage)
