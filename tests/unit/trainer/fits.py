"""Trains tiny models with the worker's own loop, without Ray; shared by tests and by the processes that they start."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.numpy import save_file

from ingrain.v1 import trainer_pb2
from servicekit.storage import open_storage
from services.trainer import exchange, files
from services.trainer.loop import loop
from services.trainer.packing import TokenSequence, pack
from services.trainer.progress import ProgressReader
from services.trainer.settings import TrainerSettings
from services.trainer.spec import resolve, with_data


class Fit:
    """A base model in storage and the means to train it."""

    def __init__(self, base: Path, root: Path):
        self.storage = open_storage(TrainerSettings())
        self.root = root
        stored = asyncio.run(files.publish(self.storage, "projects/p/models/base/import-1/model", base, {}))
        self.base_sha256 = files.digest(stored)

    def job(self, number, checkpoint=None, held_out=False, arrays=None, **spec):
        """Of a training on these arrays, or on eight texts in rows of 64 tokens; `held_out`: the same rows are measured too."""
        base = trainer_pb2.Model(parameter_count=30_000, context_window=256)
        config = with_data(resolve(trainer_pb2.TrainingSpec(max_length=64, **spec), base), 10)
        prefix = f"projects/p/models/m/op-{number}"
        generator = torch.Generator().manual_seed(3)
        sequences = [
            TokenSequence(t := torch.randint(6, 380, (n,), generator=generator).tolist(), t)
            for n in (20, 31, 9, 44, 60, 17, 25, 12)
        ]
        packed = self.root / "packed.safetensors"
        arrays = arrays or vars(pack(sequences, 64, config.seed, 0))
        measured = {f"held_out.{name}": array for name, array in arrays.items()} if held_out else {}
        save_file({**arrays, **measured}, packed)
        stored = asyncio.run(self.storage.put_file(exchange.packed_key(prefix), packed))
        return exchange.Job(
            prefix=prefix,
            model="projects/p/models/m",
            base_model="projects/p/models/base",
            base_key="projects/p/models/base/import-1/model",
            base_sha256=self.base_sha256,
            config=asdict(config),
            packed_key=exchange.packed_key(prefix),
            packed_sha256=stored.sha256,
            checkpoint=checkpoint,
            submit_time=0.0,
            threads=1,
        )

    def run(self, job):
        """Result, progress lines and the folder of the trained model."""
        loop(json.loads(json.dumps(asdict(job))))
        result = asyncio.run(exchange.get_json(self.storage, exchange.result_key(job.prefix)))
        folder = self.root / "out" / job.prefix.replace("/", "-")
        asyncio.run(files.fetch(self.storage, exchange.model_key(job.prefix), folder))
        return result, self.lines(job), folder

    def lines(self, job):
        return asyncio.run(ProgressReader(self.storage, job.prefix).read())


def losses(lines):
    """By step."""
    return {line["step"]: line["loss"] for line in lines if "step" in line}


def checkpoints_of(lines):
    """By step."""
    return {line["checkpoint"]["step"]: line["checkpoint"] for line in lines if "checkpoint" in line}
