"""The model card: what somebody who finds the folder years later should know. Pure, but for reading the base's licence."""

import json
import re
from pathlib import Path
from typing import Any

from services.trainer.config import TrainingConfig
from services.trainer.exchange import Job

# What follows from elsewhere or says nothing to a reader.
UNTOLD = ("open_fields",)
METHODS = {"full": "all weights were trained", "lora": "a low-rank adapter was trained"}


def card(config: TrainingConfig, job: Job, base: Path, result: dict[str, Any], merged: bool) -> str:
    """README.md with the front matter that hubs read. `merged`: an adapter was trained and is part of these weights."""
    adapter = config.method == "lora" and not merged
    front = {
        "library_name": "peft" if adapter else "transformers",
        "base_model": job.base_model,
        "pipeline_tag": "text-generation",
        **({"license": found} if (found := licence(base)) else {}),
    }
    what = METHODS[config.method] + (" and merged into its base" if merged else "")
    parts = [
        "---\n" + "".join(f"{name}: {value}\n" for name, value in front.items()) + "---",
        f"# {job.model}",
        f"Fine-tuned from `{job.base_model}` (sha256 `{job.base_sha256}`) by Ingrain: {what}.",
        "## Data\n\n" + (datasets(job) or "See `Model.training.datasets` of the platform."),
        "## Training\n\n" + training(config, result),
        search(job),
        measurements(result),
        "## Settings\n\n```json\n" + json.dumps(settings(config), indent=1) + "\n```",
        "## Versions\n\n" + "\n".join(f"- {n} {v}" for n, v in sorted(result.get("versions", {}).items())),
        "## Check\n\nThese files were written before they were checked. Whether inference computes from them what the training "
        f"computed stands in the platform, in `summary.verification` of `{job.model}` (`ingrain model get`).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def datasets(job: Job) -> str:
    return "\n".join(
        f"- `{data['name']}`"
        + (f", weight {data['weight']:g}" if "weight" in data else f", as {data['use']}")
        + (f", {data['row_count']} rows" if data.get("row_count") else "")
        + (f", sha256 `{data['sha256']}`" if data.get("sha256") else "")
        for data in job.datasets
    )


def training(config: TrainingConfig, result: dict[str, Any]) -> str:
    """A list of what was done and what it took, as far as the result says it."""
    learning_rate = result.get("learning_rate") or config.learning_rate
    taken = result.get("step", config.max_steps)
    steps = str(taken) if taken == config.max_steps else f"{taken} of {config.max_steps}"
    lines = [
        f"{steps} optimizer steps of {config.rows_per_step} packed rows of {config.max_length} tokens, seed {config.seed}",
        f"learning rate {learning_rate:g}, {config.lr_scheduler_type}",
        f"{config.num_workers} worker(s), ZeRO stage {config.zero_stage}, "
        f"{'bfloat16' if result.get('bf16') else 'float32'} on {result.get('device', 'cpu')}",
        f"loss of the last step: {result['loss']:.4f}",
    ]
    if result.get("best_step"):
        lines.append(f"exported weights: those after step {result['best_step']}")
    if "tokens" in result:
        lines.append(f"{result['tokens']} tokens trained, padding not counted")
    if result.get("compute_seconds"):
        lines.append(f"{result['compute_seconds']:.0f} seconds of processors, all workers together")
    if result.get("worker_memory_bytes"):
        lines.append(f"{result['worker_memory_bytes'] / 2**30:.2f} GiB of memory per worker, at most")
    if result.get("mfu"):
        lines.append(f"{result['mfu']:.1%} of the device's measured matrix-multiplication peak")
    return "\n".join(f"- {line}" for line in lines)


def search(job: Job) -> str:
    """What each learning rate gave in a short training, where they were searched."""
    if not job.searched:
        return ""
    rows = [
        f"| {trial['learning_rate']:g} | "
        + ("diverged" if trial["eval_loss"] is None else f"{trial['eval_loss']:.4f}")
        + " |"
        for trial in job.searched
    ]
    head = "| learning rate | eval_loss |\n| --- | --- |"
    return "## Learning-rate search\n\n" + "\n".join([head, *rows])


def measurements(result: dict[str, Any]) -> str:
    found = result.get("measurements") or []
    if not found:
        return ""
    names = [name for name in ("eval_loss", "acc") if any(name in one for one in found)]
    head = f"| step | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}"
    rows = [
        f"| {one['step']} | {' | '.join(f'{one[name]:.4f}' if name in one else '' for name in names)} |"
        for one in found
    ]
    return "## Measurements\n\n" + "\n".join([head, *rows])


def settings(config: TrainingConfig) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if name not in UNTOLD}


def licence(base: Path) -> str:
    """As the base's own card names it; empty where it does not."""
    path = base / "README.md"
    if not path.is_file():
        return ""
    found = re.match(r"---\n(.*?)\n---", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    line = found and re.search(r"^license:[ \t]*[\"']?([A-Za-z0-9._-]+)", found[1], re.MULTILINE)
    return line[1] if line else ""
