"""More is asked than can be computed: what is taken is answered as fast as ever, the rest is told when to come again."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ingrain.v1 import inference_pb2, inference_pb2_grpc
from services.inference.settings import InferenceSettings

PLACES = 8
CROWD = 12 * PLACES  # without refusals each answer would take twelve times as long
ANSWERS = 4 * PLACES  # of a round
CALLER = (
    ("ingrain-gateway-token", "gateway-token-of-the-test"),
    ("ingrain-caller-kind", "user"),
    ("ingrain-caller-id", "test"),
    ("ingrain-caller-project", "projects/demo"),
)
ASKED = inference_pb2.GenerateRequest(
    model="projects/demo/models/base", prompts=["which tools"] * 4, max_tokens=40, temperature=2.0
)


@dataclass
class Load:
    """What callers at once met: seconds of each answer, errors, and how long the rounds took."""

    callers: int
    answered: list[float] = field(default_factory=list)
    refused: list[grpc.aio.AioRpcError] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.answered) / self.seconds

    @property
    def p99(self) -> float:
        return sorted(self.answered)[int(0.99 * len(self.answered))]

    async def round(self, stub: Any) -> None:
        enough, began = len(self.answered) + ANSWERS, time.monotonic()

        async def ask() -> None:
            while len(self.answered) < enough:
                start = time.monotonic()
                try:
                    await stub.Generate(ASKED, metadata=CALLER, timeout=60)
                    self.answered.append(time.monotonic() - start)
                except grpc.aio.AioRpcError as error:
                    self.refused.append(error)
                    await asyncio.sleep(retry_s(error) * random.uniform(0.5, 1.5))

        await asyncio.gather(*(ask() for _ in range(self.callers)))
        self.seconds += time.monotonic() - began


async def test_refused_calls_say_when_to_come_again_and_slow_nobody_down(
    settings: InferenceSettings, serve_door: Any
) -> None:
    """Few and many callers in turn, so that whatever else the machine does meets both."""
    few, many = Load(PLACES), Load(CROWD)
    async with serve_door(
        settings.model_copy(update={"max_queued": PLACES, "model_names_s": 5.0})
    ) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            await stub.Generate(ASKED, metadata=CALLER, timeout=60)  # loads the model
            for load in (few, many, few, many):
                await load.round(stub)
    assert few.refused == []
    assert len(many.refused) >= CROWD - PLACES
    assert {error.code() for error in many.refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(0 < retry_s(error) <= 60 for error in many.refused)
    assert many.rate > few.rate / 3
    assert many.p99 < 4 * few.p99 + 1


def retry_s(error: grpc.aio.AioRpcError) -> float:
    """How long to wait, as the error's RetryInfo says; 0 where there is none."""
    retry, status = error_details_pb2.RetryInfo(), rpc_status.from_call(error)
    if status is None or not any(detail.Unpack(retry) for detail in status.details):
        return 0.0
    return float(retry.retry_delay.ToTimedelta().total_seconds())
