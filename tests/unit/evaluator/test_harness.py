"""Evaluations as lm-evaluation-harness's files."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingrain import harness
from ingrain.v1 import evaluator_pb2 as pb

CHOICE = {"kind": "rev-ersal", "choices": ["a b", "c"], "answer": "c", "metadata": {"world": 7}}
PROBES: list[dict[str, Any]] = [
    {**CHOICE, "id": "1", "prompt": "x is"},
    {**CHOICE, "id": "2", "prompt": "y is"},
    {**CHOICE, "id": "3", "kind": "rev ersal", "prompt": "z is ", "answer": ["c", "a b"]},
    {"id": "4", "kind": "who", "question": "Who {{x}}?", "answers": ["Ann"], "metadata": {"world": 7}},
    {"id": "5", "kind": "list", "question": "Which?", "answers": ["a", "b"], "metadata": {"world": 7}},
]


class Tags(yaml.SafeLoader):
    """The tool's own tag for functions."""


Tags.add_constructor("!function", lambda loader, node: f"function {loader.construct_scalar(node)}")


@pytest.fixture
def evaluation() -> pb.Evaluation:
    made = pb.Evaluation(
        name="projects/p/evaluations/mine",
        subject=pb.Subject(model="projects/p/models/m"),
        probes="projects/p/datasets/my-probes",
        probes_sha256="d" * 64,
    )
    made.create_time.FromJsonString("2026-01-02T03:04:05.5Z")
    for kind, metric, n in (
        ("rev-ersal", "acc", 2),
        ("rev ersal", "acc", 1),
        ("who", "exact_match", 1),
        ("list", "f1", 1),
    ):
        result = made.kinds.add(kind=kind, metric=metric, value=0.5, n=n, ci95_low=0.1, ci95_high=0.9)
        result.metrics[metric] = 0.5
    made.kinds[0].metrics["ece"] = 0.25
    return made


def answers(values: list[float]) -> list[dict[str, Any]]:
    metrics = {"rev-ersal": "acc", "rev ersal": "acc", "who": "exact_match", "list": "f1"}
    return [
        {"id": probe["id"], "kind": probe["kind"], "metrics": {metrics[probe["kind"]]: value}}
        for probe, value in zip(PROBES, values, strict=True)
    ]


def written(folder: Path, evaluation: pb.Evaluation, documents: dict[str, str]) -> dict[str, Any]:
    """The results, after checking that they stand where they should."""
    path = harness.write(folder, evaluation, PROBES, documents, answers([1.0, 0.0, 1.0, 0.0, 0.5]))
    assert path == folder / "results_2026-01-02T03-04-05.500.json"
    results: dict[str, Any] = json.loads(path.read_text())
    return results


def task(folder: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    config = yaml.load((folder / f"ingrain_my_probes_{name}.yaml").read_text(), Tags)
    rows = (folder / config["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()
    return config, [json.loads(row) for row in rows]


def test_choices_are_a_multiple_choice_task(tmp_path: Path, evaluation: pb.Evaluation) -> None:
    written(tmp_path, evaluation, {})
    config, rows = task(tmp_path, "rev_ersal")
    assert rows == [
        {"id": "1", "prompt": "x is", "choices": ["a b", "c"], "target": 1},
        {"id": "2", "prompt": "y is", "choices": ["a b", "c"], "target": 1},
    ]
    fields = ("doc_to_text", "doc_to_choice", "doc_to_target", "target_delimiter", "output_type", "tag")
    assert [config[field] for field in fields] == [
        *("prompt", "choices", "target", " ", "multiple_choice"),
        "ingrain_my_probes",
    ]
    assert [entry["metric"] for entry in config["metric_list"]] == [
        *("acc", "acc_norm", "acc_bytes", "brier_score")
    ]
    # Another kind of nearly the same name; its prompt ends with the space, its right choices are two.
    config, rows = task(tmp_path, "rev_ersal_2")
    assert (config["target_delimiter"], rows[0]["target"]) == ("", [0, 1])
    assert "# 1 prompts end in white space" in (tmp_path / f"{config['task']}.yaml").read_text()
    assert "brier_score" not in [entry["metric"] for entry in config["metric_list"]]


def test_spaces_that_some_choices_bring_stand_before_the_others(
    tmp_path: Path, evaluation: pb.Evaluation
) -> None:
    PROBES[1]["choices"], PROBES[1]["answer"] = [" a b", "c"], " a b"
    try:
        written(tmp_path, evaluation, {})
    finally:
        PROBES[1].update(choices=CHOICE["choices"], answer=CHOICE["answer"])
    config, rows = task(tmp_path, "rev_ersal")
    assert config["target_delimiter"] == ""
    assert [row["choices"] for row in rows] == [[" a b", " c"], [" a b", " c"]]
    assert [row["target"] for row in rows] == [1, 0]


def test_questions_are_generation_tasks_that_count_as_we_do(
    tmp_path: Path, evaluation: pb.Evaluation
) -> None:
    evaluation.subject.context.dataset = "projects/p/datasets/docs"
    evaluation.subject.context.group_key = "world"
    written(tmp_path, evaluation, {"7": "One.\nTwo."})
    config, rows = task(tmp_path, "who")
    assert rows == [{"id": "4", "prompt": "One.\nTwo.\n\nQuestion: Who {{x}}?\nAnswer:", "answers": ["Ann"]}]
    assert config["generation_kwargs"] == {"until": ["\n"], "max_gen_toks": 64, "do_sample": False}
    module, name = config["process_results"].removeprefix("function ").split(".")
    spec = importlib.util.spec_from_file_location(module, tmp_path / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    assert getattr(loaded, name)(rows[0], [" ann."]) == {"exact_match": 1.0, "f1": 1.0}
    config, _ = task(tmp_path, "list")
    counted = getattr(loaded, config["process_results"].split(".")[1])({"answers": ["a", "b"]}, ["b, x"])
    assert counted == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "set_match": 0.0}
    assert set(counted) == {entry["metric"] for entry in config["metric_list"]}


def test_results_are_named_as_the_tool_names_them(tmp_path: Path, evaluation: pb.Evaluation) -> None:
    evaluation.environment.dtype = "float32"
    found = written(tmp_path, evaluation, {})
    name = "ingrain_my_probes_rev_ersal"
    assert found["results"][name] == {
        **{"name": name, "alias": name, "sample_len": 2},
        **{"acc,none": 0.5, "acc_stderr,none": 0.5, "ece,none": 0.25, "ece_stderr,none": "N/A"},
    }
    assert found["results"]["ingrain_my_probes_who"]["exact_match_stderr,none"] == "N/A"  # of one answer
    assert found["n-samples"][name] == {"original": 2, "effective": 2}
    assert found["higher_is_better"][name] == {"acc": True, "ece": False}
    assert found["configs"][name]["target_delimiter"] == " "
    assert (found["versions"][name], found["n-shot"][name]) == (1.0, 0)
    assert (found["model_name"], found["config"]["model_dtype"]) == ("projects/p/models/m", "float32")
    assert found["date"] == 1767323045.5
    assert found["ingrain"]["tasks"][name]["ci95_high"] == 0.9
    assert found["ingrain"]["name"] == "projects/p/evaluations/mine"
    assert found["ingrain"]["schema"] == "ingrain.lm_eval/1"


def test_choices_asked_in_writing_are_tasks_of_writing(tmp_path: Path, evaluation: pb.Evaluation) -> None:
    evaluation.asking = pb.Evaluation.GENERATION
    for kind in evaluation.kinds[:2]:
        kind.metric = "exact_match"
    written(tmp_path, evaluation, {})
    rows = [
        json.loads(line) for path in tmp_path.glob("*rev*.jsonl") for line in path.read_text().splitlines()
    ]
    assert {row["id"]: row["answers"] for row in rows} == {"1": ["c"], "2": ["c"], "3": ["a b", "c"]}
    assert not any("choices" in row for row in rows)
    configs = [path.read_text() for path in tmp_path.glob("*rev*.yaml")]
    assert len(configs) == 2
    assert all("generate_until" in config for config in configs)
