"""Probes as tasks of lm-evaluation-harness: for each kind a YAML file and a JSONL file.

A row's `prompt` is the whole text that the subject read, documents included, so that the tool scores the same tokens.
Fields are named in the YAML rather than put into templates: no brace in a probe is ever taken for one.
"""

import itertools
import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ingrain.inference import QUESTION
from ingrain.names import short_id
from ingrain.v1 import evaluator_pb2

MATCHING = "ingrain_matching"  # the module beside the tasks that matches written answers
ANSWER_TOKENS = 64  # what the evaluator lets a model write
_HIGHER_IS_BETTER = {"brier_score": False, "ece": False, "confidence": None}


@dataclass(frozen=True)
class Task:
    name: str
    kind: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def written(self) -> bool:
        """Whether answers are written, not chosen."""
        return bool(self.config["output_type"] == "generate_until")


def higher_is_better(metric: str) -> bool | None:
    return _HIGHER_IS_BETTER.get(metric, True)


def tasks_of(
    evaluation: evaluator_pb2.Evaluation, probes: Iterable[dict[str, Any]], documents: Mapping[str, str]
) -> list[Task]:
    """One per kind, in the evaluation's order. `documents` is what the subject read, by the value of its group key
    (by the empty text where there is none); empty without documents."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for probe in probes:
        by_kind.setdefault(probe["kind"], []).append(probe)
    tag = _identifier(f"ingrain_{short_id(evaluation.probes)}")
    made: dict[str, Task] = {}
    for result in evaluation.kinds:
        name = _free(_identifier(f"{tag}_{result.kind}"), made)
        found = by_kind[result.kind]
        texts = [_text(evaluation, probe, documents) for probe in found]
        if result.metric == "acc":
            rows, how = _choices(found, texts)
        else:
            rows, how = _written(found, texts, result.metric)
        config = {
            "task": name,
            "tag": tag,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
            "test_split": "test",
            "doc_to_text": "prompt",
            **how,
            "num_fewshot": 0,
            "metadata": {
                "version": 1.0,
                "kind": result.kind,
                "evaluation": evaluation.name,
                "probes_sha256": evaluation.probes_sha256,
            },
        }
        made[name] = Task(name, result.kind, config, rows)
    return list(made.values())


def yaml_of(task: Task) -> str:
    """JSON values are YAML; only the name of a function is not JSON."""
    lines = [
        f"# Run it in this folder: lm_eval run --model hf --model_args pretrained=MODEL,dtype=float32 "
        f"--tasks {task.name} --include_path .",
    ]
    endings = sum(row["prompt"][-1:].isspace() for row in task.rows)
    if endings and not task.written:
        lines.append(
            f"# {endings} prompts end in white space: the tool counts it as part of every choice, the platform as "
            "part of the prompt, unless a token holds both."
        )
    for key, value in task.config.items():
        said = f"!function {value}" if key == "process_results" else json.dumps(value, ensure_ascii=False)
        lines.append(f"{key}: {said}")
    return "\n".join(lines) + "\n"


def _choices(probes: list[dict[str, Any]], texts: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    right = [_right(probe) for probe in probes]
    several = any(len(indices) > 1 for indices in right)
    # The platform puts a space before a choice unless one is there; the tool puts its delimiter before every choice.
    gaps = [
        ["" if text[-1:].isspace() or choice[:1].isspace() else " " for choice in probe["choices"]]
        for text, probe in zip(texts, probes, strict=True)
    ]
    delimiters = {gap for of_probe in gaps for gap in of_probe}
    delimiter = delimiters.pop() if len(delimiters) == 1 else None
    rows = [
        {
            "id": probe["id"],
            "prompt": text,
            "choices": probe["choices"]
            if delimiter is not None
            else [gap + choice for gap, choice in zip(of_probe, probe["choices"], strict=True)],
            "target": indices if several else indices[0],
        }
        for probe, text, of_probe, indices in zip(probes, texts, gaps, right, strict=True)
    ]
    metrics = ["acc", "acc_norm", "acc_bytes"]
    # The tool's Brier score needs as many choices everywhere, and one right one.
    if not several and len({len(probe["choices"]) for probe in probes}) == 1:
        metrics.append("brier_score")
    return rows, {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "target",
        "target_delimiter": delimiter or "",
        "metric_list": [
            {
                "metric": metric,
                "aggregation": "brier_score" if metric == "brier_score" else "mean",
                "higher_is_better": higher_is_better(metric),
            }
            for metric in metrics
        ],
    }


def _right(probe: dict[str, Any]) -> list[int]:
    answers = probe["answer"] if isinstance(probe["answer"], list) else [probe["answer"]]
    return sorted({probe["choices"].index(answer) for answer in answers})


def _answers(probe: dict[str, Any]) -> list[str]:
    """Of a question, or of choices that were asked in writing."""
    answers: list[str] = probe.get("answers") or [probe["choices"][index] for index in _right(probe)]
    return answers


def _written(
    probes: list[dict[str, Any]], texts: list[str], headline: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = [
        {"id": probe["id"], "prompt": text, "answers": _answers(probe)}
        for probe, text in zip(probes, texts, strict=True)
    ]
    is_list = headline == "f1"
    metrics = ["precision", "recall", "f1", "set_match"] if is_list else ["exact_match", "f1"]
    return rows, {
        "output_type": "generate_until",
        "doc_to_target": "answers",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": ANSWER_TOKENS, "do_sample": False},
        "process_results": f"{MATCHING}.{'process_list' if is_list else 'process_answer'}",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics
        ],
    }


def _text(evaluation: evaluator_pb2.Evaluation, probe: dict[str, Any], documents: Mapping[str, str]) -> str:
    prompt: str = probe.get("prompt") or ""
    if "question" in probe:
        prompt = (evaluation.question_template or QUESTION).replace("{question}", probe["question"])
    if not documents:
        return prompt
    key = evaluation.subject.context.group_key
    group = str((probe.get("metadata") or {}).get(key, "")) if key else ""
    return f"{documents[group]}\n\n{prompt}"


def _identifier(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()


def _free(name: str, taken: Container[str]) -> str:
    """The name, numbered where another kind's differs only in what an identifier cannot hold."""
    names = (f"{name}_{number}" if number > 1 else name for number in itertools.count(1))
    return next(free for free in names if free not in taken)
