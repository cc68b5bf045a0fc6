"""A hundred thousand rows go through in little memory and little time."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import (
    batches_pb2_grpc,
    common_pb2,
    datasets_pb2,
    datasets_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)
from servicekit import identity
from servicekit.folder import FolderStorage
from servicekit.interceptors import CallInterceptor
from servicekit.operations import add_operations
from servicekit.server import new_server
from servicekit.settings import ServiceSettings
from services.inference.batches.servicer import BatchServicer
from services.inference.settings import InferenceSettings

ROWS = 100_000


async def rows_of(count: int) -> AsyncIterator[bytes]:
    for start in range(0, count, 1000):
        rows = [{"id": f"r{n}", "prompt": f"say {n}: {'word ' * 20}"} for n in range(start, start + 1000)]
        yield b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Stored(datasets_pb2_grpc.DatasetsServicer, trainer_pb2_grpc.TrainerServicer):
    """A dataset that lies in storage, and a place for answers that counts them."""

    def __init__(self, dataset: datasets_pb2.Dataset) -> None:
        self.dataset = dataset
        self.received = 0
        self.biggest = 0

    async def GetDataset(self, request: Any, context: Any) -> datasets_pb2.Dataset:
        return self.dataset

    async def GetModel(self, request: Any, context: Any) -> trainer_pb2.Model:
        return trainer_pb2.Model(name=request.name, state=common_pb2.ACTIVE, context_window=1000)

    async def UploadDataset(self, requests: Any, context: Any) -> datasets_pb2.Dataset:
        header = None
        async for request in requests:
            header = header or request.header
            self.received += request.chunk.count(b"\n")
            self.biggest = max(self.biggest, len(request.chunk))
        return datasets_pb2.Dataset(
            name=f"{header.parent}/datasets/{header.dataset_id}", labels=header.dataset.labels
        )


def test_a_hundred_thousand_rows_in_flat_memory(tmp_path: Path) -> None:
    """In a process of its own: memory is what it has at most over its life."""
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["answers"], told["counted"]) == (ROWS, ROWS)
    assert told["seconds"] < 60  # about 5 on a quiet machine
    assert told["grown_mb"] < 100  # the rows alone have 13 MB as text, and each many times that as values


async def main(folder: Path) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).parent))
    import batch_process

    storage = FolderStorage(folder / "storage")
    stored = await storage.put("projects/demo/datasets/d/rows.jsonl", rows_of(ROWS))
    dataset = datasets_pb2.Dataset(
        name="projects/demo/datasets/d", kind=datasets_pb2.Dataset.PROMPTS, state=common_pb2.ACTIVE
    )
    dataset.row_count, dataset.size_bytes, dataset.uri = ROWS, stored.size_bytes, stored.uri
    server = new_server(ServiceSettings(), [CallInterceptor(_somebody)])
    behind = Stored(dataset)
    datasets_pb2_grpc.add_DatasetsServicer_to_server(behind, server)
    trainer_pb2_grpc.add_TrainerServicer_to_server(behind, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    settings = InferenceSettings(
        gateway=address, database_url=f"sqlite:///{folder}/inference.db", storage=f"file://{folder}/storage"
    )
    door = batch_process.Echo()
    door.asked = door.requests = _Forgets()
    service = await batch_process.assemble(settings, door)
    batches_pb2_grpc.add_BatchesServicer_to_server(BatchServicer(service.batches), server)
    add_operations(server, service.operations)
    await server.start()
    working = asyncio.create_task(service.worker.run())
    base = memory_kb("VmRSS")
    begun = time.monotonic()
    async with AsyncClient(address, project="demo") as client:
        operation = await client.batches.create("projects/demo/models/echo", "d", "b-1")
        made = await operation.result(timeout_s=100)
        seconds = time.monotonic() - begun
        batch = await client.batches.get("b-1")
    working.cancel()
    await asyncio.wait([working])
    await server.stop(0)
    await service.database.close()
    assert made.name == batch.output_dataset
    assert behind.biggest <= 1 << 20
    grown = memory_kb("VmHWM") - base
    return {
        "answers": behind.received,
        "counted": batch.answered_count,
        "seconds": round(seconds, 2),
        "grown_mb": grown // 1024,
    }


class _Forgets:
    def update(self, texts: Any) -> None: ...

    def append(self, request: Any) -> None: ...


async def _somebody(metadata: dict[str, Any]) -> identity.Caller:
    return identity.Caller("service", "test", "projects/demo")


def memory_kb(name: str) -> int:
    """Of this process: `VmRSS` now, `VmHWM` at most. `ru_maxrss` would begin with what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
