"""How long steps took on this platform, by what they were: from finished trainings and from trials before them."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from servicekit.database import Database, metadata
from servicekit.upgrading import known
from services.trainer.config import TrainingConfig

RATE = sa.Table(
    "training_rate",
    metadata,
    sa.Column("key", sa.String, primary_key=True),  # of `exact_key`
    sa.Column("source", sa.String, primary_key=True),  # "trial" or the trained model's name
    sa.Column("device", sa.String, nullable=False),
    sa.Column("dtype", sa.String, nullable=False),
    sa.Column("method", sa.String, nullable=False),
    sa.Column("size_bucket", sa.Integer, nullable=False),
    sa.Column("measured", sa.JSON, nullable=False),  # of `Rate`
    sa.Column("measure_time", sa.Float, nullable=False),  # seconds since 1970
)

# All of the recipe that the time or the memory of one step depends on.
STEP_FIELDS = (
    "method",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_length",
    "num_workers",
    "zero_stage",
    "gradient_checkpointing",
    "offload_optimizer",
    "offload_param",
    "deepspeed",
    "torch_compile",
    "use_liger_kernel",
    "attn_implementation",
    "bf16",
    "train_on_prompt",
    "use_dora",
    "load_in_4bit",
    "r",
    "lora_dropout",
    "target_modules",
    "distillation_top_k",
)


@dataclass(frozen=True)
class Rate:
    """Of one worker; seconds are of a processor, or of a GPU that is held."""

    step_seconds: float  # of an optimizer step
    step_flops: float  # of an optimizer step, all workers together
    once_seconds: float  # before the first step and after the last
    startup_seconds: float  # on the wall, until the first step; 0 where it was not measured
    memory_bytes: int  # above the imports; 0 where it was not measured
    workers: int
    trial_steps: int = 0  # after so many memory was measured; 0: after all of a training


def exact_key(base_sha256: str, config: TrainingConfig) -> str:
    """The same for trainings whose steps take the same."""
    said = {name: getattr(config, name) for name in STEP_FIELDS}
    return hashlib.sha256(json.dumps([base_sha256, said], sort_keys=True).encode()).hexdigest()[:32]


def size_bucket(parameter_count: int) -> int:
    """Models within a factor of two or so."""
    return round(math.log2(max(1, parameter_count)))


@dataclass(frozen=True)
class Found:
    """A rate and where it comes from."""

    rate: Rate
    source: str
    exact: bool


class Rates:
    """The table; `Database.create_all` makes it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def note(
        self,
        key: str,
        source: str,
        rate: Rate,
        *,
        device: str,
        dtype: str,
        method: str,
        parameter_count: int,
        now: float,
    ) -> None:
        """The newest from one source replaces its earlier ones."""
        values = {
            "device": device,
            "dtype": dtype,
            "method": method,
            "size_bucket": size_bucket(parameter_count),
            "measured": asdict(rate),
            "measure_time": now,
        }

        def note(connection: sa.Connection) -> None:
            same = (RATE.c.key == key) & (RATE.c.source == source)
            connection.execute(sa.delete(RATE).where(same))
            connection.execute(sa.insert(RATE).values(key=key, source=source, **values))

        await self.database.run(note)

    async def exact(self, key: str) -> Found | None:
        """Of the very same step; a training's goes before a trial's."""

        def read(connection: sa.Connection) -> Found | None:
            rows = connection.execute(
                sa.select(RATE).where(RATE.c.key == key).order_by(RATE.c.measure_time.desc())
            ).all()
            rows.sort(key=lambda row: row.source == "trial")
            return Found(known(Rate, rows[0].measured), rows[0].source, True) if rows else None

        return await self.database.run(read)

    async def similar(self, gpu: bool, dtype: str, method: str, parameter_count: int) -> Found | None:
        """The newest of the same kind of device, type and method, of the nearest size within a factor of eight."""
        bucket = size_bucket(parameter_count)

        def read(connection: sa.Connection) -> Found | None:
            device = RATE.c.device != "cpu" if gpu else RATE.c.device == "cpu"
            rows = connection.execute(
                sa.select(RATE).where(
                    device,
                    RATE.c.dtype == dtype,
                    RATE.c.method == method,
                    RATE.c.size_bucket.between(bucket - 3, bucket + 3),
                )
            ).all()
            rows.sort(key=lambda row: (abs(row.size_bucket - bucket), -row.measure_time))
            return Found(known(Rate, rows[0].measured), rows[0].source, False) if rows else None

        return await self.database.run(read)
