import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import manifest

GOLDEN = Path(__file__).parents[2] / "golden" / "studies"


@pytest.fixture
def report() -> dict[str, Any]:
    return json.loads((GOLDEN / "wide.json").read_text())


def test_steps_say_what_they_made(report: dict[str, Any]) -> None:
    steps = {step["id"]: step for step in manifest.build(report, {})["steps"]}
    assert steps["augment"]["sha256"] == "d" * 64
    assert steps["evaluate base"]["sha256"] is None
    assert all(step["fingerprint"] for step in steps.values())


def test_the_table_differs_where_a_cell_does_and_where_one_is_missing(report: dict[str, Any]) -> None:
    before = manifest.table(report)
    now = json.loads(json.dumps(before))
    now["icl"]["reversal"] -= 0.02
    del now["base"]["forward"]
    now["other"] = {"forward": 0.5}
    found = {(one.method, one.kind): one for one in manifest.compare(before, now, 0.01)}
    assert set(found) == {("icl", "reversal"), ("base", "forward"), ("other", "forward")}
    assert found["base", "forward"].now is None
    assert found["other", "forward"].before is None
    assert {(one.method, one.kind) for one in manifest.compare(before, now, 0.03)} == {
        ("base", "forward"),
        ("other", "forward"),
    }
    assert manifest.compare(before, before, 0.0) == []


def test_the_spec_takes_the_names_that_things_have_here(report: dict[str, Any]) -> None:
    made = manifest.build(report, {})
    models = {model["name"]: f"{model['name']}-here" for model in made["models"]}
    datasets = {field: f"{name}-here" for field, name in manifest.named_datasets(made["spec"]).items()}
    spec = manifest.spec_of(made, datasets, models)
    assert spec.dataset.endswith("-here")
    assert spec.probes.endswith("-here")
    assert spec.model == "projects/demo/models/small-here"
    assert [contender.model for contender in spec.contenders] == ["projects/demo/models/large-here"]
    assert not spec.previous_study


def test_who_infers_and_who_judges_are_models_of_the_study_too(report: dict[str, Any]) -> None:
    inputs = report["inputs"]
    names = {role: f"projects/demo/models/{role}" for role in ("generator", "judge", "answer-judge")}
    for role, name in names.items():
        inputs[role.replace("-", "_")] = {**inputs["model"], "name": name, "sha256": "5" * 64}
    inputs["spec"]["augmentation"] |= {"model": names["generator"], "gates": {"judge": names["judge"]}}
    inputs["spec"]["judge"] = {"model": names["answer-judge"], "rubric": "{question} {answer}"}
    made = manifest.build(report, {})
    assert [model["name"] for model in made["models"]][-3:] == list(names.values())
    spec = manifest.spec_of(made, {}, {model["name"]: f"{model['name']}-here" for model in made["models"]})
    assert spec.augmentation.model == "projects/demo/models/generator-here"
    assert spec.augmentation.gates.judge == "projects/demo/models/judge-here"
    assert spec.judge.model == "projects/demo/models/answer-judge-here"
