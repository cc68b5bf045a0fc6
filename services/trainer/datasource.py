"""The training rows: fetched through the gateway, packed by `prepare` in a process of its own."""

import asyncio
import contextlib
import dataclasses
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import ingrain.errors
from ingrain.v1 import trainer_pb2
from servicekit.errors import Invalid, NotFound, Unavailable
from servicekit.peers import gateway_client
from servicekit.storage import Storage
from services.trainer import files
from services.trainer.config import DataSummary, TrainingConfig
from services.trainer.prepare import PrepareTask
from services.trainer.settings import TrainerSettings

TOKENIZER = "tokenizer"  # folder


@dataclass(frozen=True)
class Prepared:
    """Packed rows on this machine, for the time of the block that made them."""

    packed: Path
    summary: DataSummary
    vocabulary_size: int


@contextlib.asynccontextmanager
async def prepared(
    spec: trainer_pb2.TrainingSpec,
    config: TrainingConfig,
    base: trainer_pb2.Model,
    project: str,
    storage: Storage,
    settings: TrainerSettings,
) -> AsyncIterator[Prepared]:
    """Reads and packs the datasets of the spec. Invalid names the row that cannot be trained on."""
    settings.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="prepare-", dir=settings.scratch) as name:
        folder = Path(name)
        tokenizer = folder / TOKENIZER
        await files.fetch(storage, files.home(storage, base), tokenizer, files.is_tokenizer_file, settings)
        task = await fetched_task(spec, config, base.context_window, project, folder, settings)
        (folder / "task.json").write_text(json.dumps(dataclasses.asdict(task)))
        await run_prepare(folder)
        if (error := folder / "error.json").is_file():
            wrong = json.loads(error.read_text())
            raise Invalid(wrong["reason"], wrong["message"], wrong["field"], **wrong["metadata"])
        summary = DataSummary(**json.loads((folder / "summary.json").read_text()))
        vocabulary = json.loads((tokenizer / "config.json").read_text()).get("vocab_size", 0)
        yield Prepared(folder / "packed.safetensors", summary, vocabulary)


def named_datasets(spec: trainer_pb2.TrainingSpec) -> list[tuple[str, str]]:
    """Every dataset that the spec names, with the field that names it."""
    found = [("datasets", dataset.dataset) for dataset in spec.datasets]
    found += [("evaluation.datasets", name) for name in spec.evaluation.datasets]
    if spec.evaluation.probes:
        found.append(("evaluation.probes", spec.evaluation.probes))
    if spec.HasField("replay"):
        found.append(("replay.dataset", spec.replay.dataset))
    if spec.HasField("distillation"):
        found.append(("distillation.dataset", spec.distillation.dataset))
    return found


async def fetched_task(
    spec: trainer_pb2.TrainingSpec,
    config: TrainingConfig,
    context_window: int,
    project: str,
    folder: Path,
    settings: TrainerSettings,
) -> PrepareTask:
    """Each named dataset once as a file in the folder, and what is to be made of them."""
    file_of: dict[str, str] = {}
    for field, name in named_datasets(spec):
        if name not in file_of:
            file_of[name] = f"rows-{len(file_of)}.jsonl"
            await fetch_rows(name, project, folder / file_of[name], settings, f"training.{field}")
    replay, distillation, probes = spec.replay, spec.distillation, spec.evaluation.probes
    return PrepareTask(
        datasets=tuple((d.dataset, d.weight or 1.0, file_of[d.dataset]) for d in spec.datasets),
        tokenizer=TOKENIZER,
        splitting=config.splitting,
        train_on_prompt=config.train_on_prompt,
        max_length=config.max_length,
        seed=config.seed,
        max_tokens=config.max_tokens,
        rows_per_step=config.rows_per_step,
        long_rows=config.long_rows,
        max_lost_row_ratio=config.max_lost_row_ratio,
        context_window=context_window,
        replay=(replay.dataset, replay.ratio, file_of[replay.dataset]) if spec.HasField("replay") else None,
        held_out=tuple((name, file_of[name]) for name in spec.evaluation.datasets),
        eval_ratio=config.eval_ratio,
        probes=(probes, file_of[probes]) if probes else None,
        documents=file_of[distillation.dataset] if spec.HasField("distillation") else "",
    )


async def fetch_rows(
    dataset: str, project: str, path: Path, settings: TrainerSettings, field: str = "training.datasets"
) -> None:
    try:
        client = gateway_client(settings, project)
        with path.open("w", encoding="utf-8") as file:
            async for row in client.datasets.rows(dataset):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except ingrain.errors.NotFound:
        raise NotFound("DATASET_NOT_FOUND", f"There is no dataset {dataset}.", dataset=dataset) from None
    except ingrain.errors.WrongState as error:
        raise Invalid("DATASET_NOT_ACTIVE", error.message, field=field, dataset=dataset) from None
    except ingrain.errors.IngrainError as error:
        raise Unavailable(
            "DATASET_UNREACHABLE",
            f"The rows of {dataset} could not be read: {error.message}",
            dataset=dataset,
        ) from error


async def run_prepare(folder: Path) -> None:
    """Ends the process where this task is cancelled."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.trainer.prepare",
        str(folder),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        _, stderr = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable("PREPARE_FAILED", f"Packing the rows failed: {lines[-1] if lines else 'killed'}")
