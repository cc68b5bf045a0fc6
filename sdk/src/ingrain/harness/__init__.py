"""An evaluation as lm-evaluation-harness knows it: its results file, and its probes as tasks of that tool.

tasks     probes and documents -> task YAML and JSONL
results   an evaluation and its answers -> results JSON

Neither needs that tool; both were written for its version 0.4.13 (names of `docs/metrics.md`).
"""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from ingrain.harness.results import results_of
from ingrain.harness.tasks import MATCHING, Task, tasks_of, yaml_of
from ingrain.v1 import evaluator_pb2


def write(
    folder: Path,
    evaluation: evaluator_pb2.Evaluation,
    probes: list[dict[str, Any]],
    documents: dict[str, str],
    answers: list[dict[str, Any]],
) -> Path:
    """Writes `results_<time>.json`, whose path it returns, and the tasks; `documents` as `tasks_of` takes them."""
    tasks = tasks_of(evaluation, probes, documents)
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        (folder / f"{task.name}.yaml").write_text(yaml_of(task), encoding="utf-8")
        with (folder / f"{task.name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in task.rows)
    if any(task.written for task in tasks):
        source = files("ingrain").joinpath("matching.py").read_text(encoding="utf-8")
        (folder / f"{MATCHING}.py").write_text(source, encoding="utf-8")
    time = re.sub(r"[:+]", "-", evaluation.create_time.ToJsonString().rstrip("Z"))
    path = folder / f"results_{time}.json"
    content = json.dumps(results_of(evaluation, tasks, answers), indent=2, ensure_ascii=False)
    path.write_text(content + "\n", encoding="utf-8")
    return path


__all__ = ["Task", "write"]
