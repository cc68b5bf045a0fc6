"""`make check-training-estimate`: what is foreseen of trainings, and what they then take; writes docs/training-estimates.md and .json.

Each training is a real one, from base model to exported files, by the trainer's own loop in processes of its own; only Ray is left out.
Processor seconds are compared, which do not depend on what else runs on the machine.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingrain.v1 import trainer_pb2
from servicekit.settings import ServiceSettings
from servicekit.storage import open_storage
from services.trainer import exchange, files
from services.trainer.config import DataSummary, TrainingConfig
from services.trainer.estimate import Work, time_of
from services.trainer.exchange import Job
from services.trainer.fitting import fitted
from services.trainer.foresight import memory_after_trial, run_trial
from services.trainer.kernels import Texts
from services.trainer.machine import machine_of
from services.trainer.memory import worker_memory
from services.trainer.packing import Packed, TokenSequence, pack
from services.trainer.rates import Found, Rate
from services.trainer.settings import TrainerSettings
from services.trainer.shapes import shape_from
from services.trainer.spec import resolve, with_data

BUNDLED = Path(__file__).parents[1] / "models" / "small"
LORA = {"method": trainer_pb2.TrainingSpec.LORA}
SEQUENCES = 600
MEAN_LOG, SPREAD_LOG, LONGEST = 3.6, 0.7, 250  # of the rows' lengths in tokens


@dataclass(frozen=True)
class Case:
    """One training. `shape` is empty for the bundled model, else a Llama's width, layers, inner width and vocabulary."""

    name: str
    shape: tuple[int, int, int, int] | None
    steps: int
    spec: dict[str, Any] = field(default_factory=dict)


SMALL, MEDIUM = (256, 8, 768, 8_000), (512, 8, 1_408, 16_000)
CASES = (
    Case("1.4M full", None, 60),
    Case("1.4M full, float32", None, 40, {"bf16": False}),
    Case("1.4M LoRA", None, 40, LORA),
    Case("8.9M full", SMALL, 16),
    Case("8.9M full, 2 workers, ZeRO 2", SMALL, 12, {"num_workers": 2}),
    Case("8.9M full, 2 workers, ZeRO 3", SMALL, 10, {"num_workers": 2, "zero_stage": 3}),
    Case("34M full", MEDIUM, 10),
    Case("34M full, checkpointed", MEDIUM, 8, {"gradient_checkpointing": True}),
    Case("34M LoRA", MEDIUM, 10, LORA),
    Case("34M full, 2 workers, ZeRO 2", MEDIUM, 6, {"num_workers": 2}),
    Case("34M full, 2 workers, ZeRO 3", MEDIUM, 6, {"num_workers": 2, "zero_stage": 3}),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="only those whose names hold this")
    parser.add_argument("--into", type=Path, default=Path("docs"))
    parser.add_argument("--worker", nargs=3, metavar=("JOB", "GROUP", "RANK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(*options.worker)
        return
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    found = []
    with tempfile.TemporaryDirectory(prefix="ingrain-") as name:
        for number, case in enumerate(CASES):
            if options.cases in case.name:
                found.append(asyncio.run(check(case, Path(name) / str(number))))
                print(row(found[-1]), flush=True)
                values = json.dumps({"commit": commit, "cases": found}, indent=1) + "\n"
                (options.into / "training-estimates.json").write_text(values)
                (options.into / "training-estimates.md").write_text(markdown(commit, found))


async def check(case: Case, folder: Path) -> dict[str, Any]:
    """What is foreseen, and then what was taken."""
    folder.mkdir(parents=True)
    base_folder = BUNDLED if case.shape is None else new_model(folder / "base", case.shape)
    settings = TrainerSettings(
        storage=f"file://{folder}/storage", scratch=folder / "scratch", trial_limit_s=3600.0, report_to="none"
    )
    settings.scratch.mkdir()
    described = json.loads((base_folder / "config.json").read_text())
    base = trainer_pb2.Model(
        parameter_count=parameter_count(base_folder),
        layer_count=described["num_hidden_layers"],
        hidden_size=described["hidden_size"],
        context_window=4096,
    )
    packed, data = rows(described["vocab_size"])
    shape = shape_from(described, base)
    asked = resolve(trainer_pb2.TrainingSpec(max_steps=case.steps, **case.spec), base)
    fits = fitted(asked, shape, machine_of(settings))
    config = with_data(fits.config, data.packed_row_count)
    packed_file = folder / "packed.safetensors"
    save(packed, packed_file)

    begun = time.monotonic()
    tried = await run_trial(config, base_folder, packed_file, settings)
    assert tried is not None, "the trial measured nothing"
    trial_s = time.monotonic() - begun
    rate = Rate(**tried["rate"])
    reckoned = Work.of(config, shape, data)
    foreseen = time_of(
        config, shape, reckoned, Found(rate, "trial", True), False, settings.threads_per_worker, 0.0
    )
    result = await trained(config, base_folder, packed_file, folder, settings)
    memory = worker_memory(config, shape, False, result["bf16"], Texts.of(data))
    return {
        "case": case.name,
        "bf16": result["bf16"],
        "rows": [config.per_device_train_batch_size, config.gradient_accumulation_steps],
        "trial_wall_s": round(trial_s, 1),
        "predicted": {
            "memory_model": memory.total,
            "memory_trial": memory_after_trial(rate, memory, config, Texts.of(data)),
            "compute_seconds": foreseen.compute_seconds,
            "tokens": reckoned.tokens,
            "steps": config.max_steps,
        },
        "parts": {name: round(value) for name, value in asdict(memory).items()},
        "measured": {
            "memory": result["worker_memory_bytes"],
            "compute_seconds": result["compute_seconds"],
            "tokens": result["tokens"],
            "steps": result["step"],
            "mfu": result.get("mfu", 0.0),
        },
    }


def new_model(folder: Path, shape: tuple[int, int, int, int]) -> Path:
    """A random Llama with the bundled tokenizer, made in a process of its own, so that torch stays out of this one."""
    width, layers, inner, vocabulary = shape
    made = (
        "import torch, transformers as t; torch.manual_seed(0); "
        f"t.LlamaForCausalLM(t.LlamaConfig(vocab_size={vocabulary}, hidden_size={width}, num_hidden_layers={layers}, "
        f"num_attention_heads={width // 64}, num_key_value_heads={width // 64}, intermediate_size={inner}, "
        f"tie_word_embeddings=True, max_position_embeddings=4096)).save_pretrained({str(folder)!r})"
    )
    subprocess.run([sys.executable, "-c", made], check=True, stderr=subprocess.DEVNULL)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((BUNDLED / name).read_bytes())
    return folder


def parameter_count(folder: Path) -> int:
    """Of one safetensors file, whose header says the shapes."""
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    count = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            size = 1
            for side in tensor["shape"]:
                size *= side
            count += size
    return count


def rows(vocabulary: int) -> tuple[Packed, DataSummary]:
    """Random tokens in rows of log-normal lengths."""
    generator = random.Random(7)
    sequences = []
    for _ in range(SEQUENCES):
        length = max(2, min(LONGEST, round(generator.lognormvariate(MEAN_LOG, SPREAD_LOG))))
        tokens = [generator.randrange(5, vocabulary) for _ in range(length)]
        sequences.append(TokenSequence(tokens, tokens))
    packed = pack(sequences, 256, 0, 0)
    tokens = int(packed.token_count_R.sum())
    summary = DataSummary(
        row_count=len(sequences),
        packed_row_count=len(packed.token_count_R),
        token_count=tokens,
        padding_ratio=1 - tokens / packed.input_ids_RL.size,
        mean_row_tokens=tokens / len(sequences),
    )
    return packed, summary


def save(packed: Packed, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(vars(packed), path)


async def trained(
    config: TrainingConfig, base: Path, packed: Path, folder: Path, settings: TrainerSettings
) -> dict[str, Any]:
    """`result.json` of a real training."""
    storage = open_storage(ServiceSettings(storage=settings.storage))
    base_key, prefix = "projects/p/models/base/import-1/model", "projects/p/models/m/operation-1"
    stored = await files.publish(storage, base_key, base, {})
    kept = await storage.put_file(exchange.packed_key(prefix), packed)
    job = Job(
        prefix=prefix,
        model="projects/p/models/m",
        base_model="projects/p/models/base",
        base_key=base_key,
        base_sha256=files.digest(stored),
        config=asdict(config),
        packed_key=exchange.packed_key(prefix),
        packed_sha256=kept.sha256,
        checkpoint=None,
        submit_time=time.time(),
        threads=settings.threads_per_worker,
    )
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    environment = {
        **os.environ,
        "INGRAIN_STORAGE": settings.storage,
        "INGRAIN_SCRATCH": str(settings.scratch),
        "INGRAIN_REPORT_TO": "none",
        "OMP_NUM_THREADS": str(settings.threads_per_worker),
        "WORLD_SIZE": str(config.num_workers),
        "DS_ACCELERATOR": "cpu",
    }
    command = [sys.executable, "-m", "tools.training_estimate_check", "--worker", str(folder / "job.json")]
    with (folder / "stderr").open("w") as errors:
        workers = [
            subprocess.Popen(
                [*command, str(folder / "group"), str(rank)],
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stderr=errors,
            )
            for rank in range(config.num_workers)
        ]
        codes = [worker.wait() for worker in workers]
    assert not any(codes), (folder / "stderr").read_text()[-3000:]
    result = await exchange.get_json(storage, exchange.result_key(prefix))
    assert result is not None
    return result


def work(job: str, group: str, rank: str) -> None:
    """A worker's process."""
    import torch.distributed as dist

    from services.trainer.loop import loop

    description = json.loads(Path(job).read_text())
    world = description["config"]["num_workers"]
    dist.init_process_group("gloo", init_method=f"file://{group}", rank=int(rank), world_size=world)
    loop(description)


COLUMNS = (
    ("memory by the model", "memory_model", "memory", 1e6, "MB"),
    ("memory by the trial", "memory_trial", "memory", 1e6, "MB"),
    ("processor seconds", "compute_seconds", "compute_seconds", 1.0, "s"),
    ("tokens", "tokens", "tokens", 1.0, ""),
    ("steps", "steps", "steps", 1.0, ""),
)


def row(found: dict[str, Any]) -> str:
    cells = []
    for _, said, took, unit, _ in COLUMNS:
        predicted, measured = found["predicted"][said], found["measured"][took]
        digits = 1 if took == "compute_seconds" else 0
        cells.append(
            f"{predicted / unit:,.{digits}f} / {measured / unit:,.{digits}f} = {predicted / measured:.2f}"
        )
    return f"| {found['case']} | " + " | ".join(cells) + f" | {found['measured']['mfu']:.0%} |"


def markdown(commit: str, found: list[dict[str, Any]]) -> str:
    titles = [f"{title} ({unit})" if unit else title for title, _, _, _, unit in COLUMNS]
    ratios = {
        said: [one["predicted"][said] / one["measured"][took] for one in found]
        for _, said, took, _, _ in COLUMNS
    }
    spread = "; ".join(
        f"{title} {min(ratios[said]):.2f} to {max(ratios[said]):.2f}" for title, said, _, _, _ in COLUMNS
    )
    lines = [
        "# What is foreseen of a training, and what it took",
        "",
        f"`make check-training-estimate`, commit {commit[:12]}: real trainings of random Llamas and of the bundled model on rows of log-normal "
        "lengths, packed to 256 tokens, four packed rows a micro-batch, one thread a worker. Each cell: foreseen / taken = ratio. Memory is of "
        "one worker above what its imports hold, at its peak until the last step; processor seconds are of all workers, from before the model "
        "is loaded until after the last checkpoint, those of export and start left out. MFU is the training's own, by the formula of docs/training.md.",
        "",
        "| training | " + " | ".join(titles) + " | MFU |",
        "| --- | " + "---: | " * (len(titles) + 1),
        *(row(one) for one in found),
        "",
        f"Ratios: {spread}. One run, one machine of two shared cores, beside other work.",
        "",
        "*By the model*: reckoned from the shape (services/trainer/memory.py), as recipes are chosen by it before anything runs. *By the trial*: "
        "measured in some real steps, as `validate_only` says it where a trial may run; processor seconds come from the same trial. "
        "The constants of what kernels, threads and several workers hold are fitted to these trainings; seconds on the wall are not compared.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
