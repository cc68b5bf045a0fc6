"""The trainer's step without Ray, DeepSpeed and services, for a machine that has torch, transformers and peft:

    python -m services.trainer.bare --model FOLDER --rows FILE.jsonl --spec SPEC.json --out FOLDER

Under torchrun every process is a worker and gradients are averaged. SPEC.json holds fields of `config.TrainingConfig`, all of them
optional; unknown ones are errors. A row is {"text"}, {"prompt", "completion"} (loss on the completion, or on all with
train_on_prompt) or {"tokens", "labels"}. Each step is a line of JSON on standard output. OUT gets what `save_pretrained` writes.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from services.trainer.config import TrainingConfig
from services.trainer.data import TrainingRows
from services.trainer.loading import load_model, uses_bf16
from services.trainer.metering import Meter
from services.trainer.packing import IGNORED, TokenSequence, pack
from services.trainer.plain_engine import PlainEngine
from services.trainer.refusals import CannotTrain
from services.trainer.step import learning_rate, train_step

DEFAULTS: dict[str, Any] = {
    "method": "full",
    "splitting": "document",
    "max_steps": 100,
    "num_train_epochs": 0.0,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.03,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_length": 1024,
    "seed": 0,
    "bf16": None,
    "train_on_prompt": False,
    "r": 16,
    "lora_alpha": 32.0,
    "lora_dropout": 0.0,
    "target_modules": (),
    "zero_stage": 0,
    "save_steps": 0,
}
# What needs DeepSpeed, or the services around it.
REFUSED = ("deepspeed", "offload_optimizer", "offload_param", "evaluates", "learning_rates")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Trains without Ray and DeepSpeed.")
    for name in ("model", "rows", "spec", "out"):
        parser.add_argument(f"--{name}", type=Path, required=name != "out")
    parser.add_argument("--threads", type=int, default=0, help="of a worker; default: torch's")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    with process_group() as device:
        config = config_of(json.loads(options.spec.read_text()), dist.get_world_size())
        meter = Meter(device, dist.get_world_size(), uses_bf16(config))
        torch.manual_seed(config.seed)
        engine = PlainEngine(load_model(options.model, config), config, device, uses_bf16(config))
        meter.model(engine.module, config)
        data = packed(options.rows, options.model, config)
        for line in steps(engine, data, config, meter):
            if dist.get_rank() == 0:
                print(json.dumps(line), flush=True)
        if options.out and dist.get_rank() == 0:
            engine.module.save_pretrained(options.out)


@contextlib.contextmanager
def process_group() -> Iterator[torch.device]:
    """torchrun's, else one of this process alone."""
    gpu = torch.cuda.is_available()
    backend = "nccl" if gpu else "gloo"
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if "MASTER_ADDR" in os.environ:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    finally:
        dist.destroy_process_group()


def config_of(spec: dict[str, Any], world: int) -> TrainingConfig:
    """CannotTrain where a name is unknown or asks for what is not here."""
    known = {field.name for field in dataclasses.fields(TrainingConfig)}
    if unknown := sorted(spec.keys() - known):
        raise CannotTrain("UNKNOWN_FIELD", f"The spec names {', '.join(unknown)}, which no training has.")
    if refused := [name for name in REFUSED if spec.get(name) not in (None, "", "none", False, [])]:
        raise CannotTrain("NOT_BARE", f"{', '.join(refused)}: only the platform's trainer has that.")
    if spec.get("zero_stage") or spec.get("num_workers", world) != world:
        raise CannotTrain("NOT_BARE", "Bare training has no ZeRO stages, and as many workers as processes.")
    return TrainingConfig.from_json(DEFAULTS | spec | {"num_workers": world})


def packed(rows: Path, model: Path, config: TrainingConfig) -> TrainingRows:
    from transformers import AutoTokenizer

    lines = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines() if line.strip()]
    tokenizer = None
    if any("tokens" not in line for line in lines):
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    found = [sequence_of(line, tokenizer, config) for line in lines]
    longest = max(len(sequence.tokens) for sequence in found)
    if longest > config.max_length:
        raise CannotTrain("ROW_TOO_LONG", f"A row has {longest} tokens, over max_length {config.max_length}.")
    padding = getattr(tokenizer, "pad_token_id", None) or 0
    return TrainingRows(dict(vars(pack(found, config.max_length, config.seed, padding))), config)


def sequence_of(row: dict[str, Any], tokenizer: Any, config: TrainingConfig) -> TokenSequence:
    if "tokens" in row:
        return TokenSequence(row["tokens"], row.get("labels", row["tokens"]))
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    if "text" in row:
        tokens = tokenizer(row["text"])["input_ids"] + end
        return TokenSequence(tokens, tokens)
    prompt = tokenizer(row["prompt"])["input_ids"]
    tokens = prompt + tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + end
    masked = 0 if config.train_on_prompt else len(prompt)
    return TokenSequence(tokens, [IGNORED] * masked + tokens[masked:])


def steps(
    engine: PlainEngine, data: TrainingRows, config: TrainingConfig, meter: Meter
) -> Iterator[dict[str, Any]]:
    """Takes all of them; what a progress line of the platform says, and the memory at the end."""
    rank = dist.get_rank()
    for step in range(1, config.max_steps + 1):
        started = time.monotonic()
        meter.begin_step()
        rate = learning_rate(config, step)
        loss, norm = train_step(
            engine, data.batches(step, rank, engine.device), data.target_count(step), rate
        )
        told = meter.step(
            time.monotonic() - started, data.token_count(step), data.looked_at(step), config.max_steps - step
        )
        yield {"step": step, "loss": loss, "learning_rate": rate, "grad_norm": norm, **told}
    yield {"worker_memory_bytes": meter.memory_bytes()}


if __name__ == "__main__":
    try:
        main()
    except CannotTrain as error:
        sys.exit(f"{error.reason}: {error.message}")
