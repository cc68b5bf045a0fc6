"""The report of a fixed study, word for word. `make golden` rewrites the files; look at the difference."""

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from ingrain.v1 import studies_pb2, trainer_pb2
from services.studies import analyse, report
from services.studies.material import Material
from services.studies.render import render, si
from services.studies.statistics import alone

HERE = Path(__file__).parent


@pytest.fixture
def forms(study: studies_pb2.Study, material: Material) -> dict[str, bytes]:
    return render(report.build(analyse.findings(study, material)))


@pytest.fixture
def wide_forms(wide_study: studies_pb2.Study, wide: Material) -> dict[str, bytes]:
    return render(report.build(analyse.findings(wide_study, wide)))


@pytest.mark.parametrize("form", ["json", "md"])
def test_golden_report(form: str, forms: dict[str, bytes]) -> None:
    same_as_golden(HERE / f"report.{form}", forms[form])


@pytest.mark.parametrize("form", ["json", "md"])
def test_golden_wide_report(form: str, wide_forms: dict[str, bytes]) -> None:
    same_as_golden(HERE / f"wide.{form}", wide_forms[form])


SCHEMA = json.loads((HERE.parents[2] / "docs" / "report.schema.json").read_text())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("which", ["forms", "wide_forms"])
def test_reports_keep_the_published_schema(which: str, request: pytest.FixtureRequest) -> None:
    report = json.loads(request.getfixturevalue(which)["json"])
    found = [
        f"{e.json_path}: {e.message}" for e in jsonschema.Draft202012Validator(SCHEMA).iter_errors(report)
    ]
    assert found == []


def test_the_schema_refuses_what_is_not_promised(wide_forms: dict[str, bytes]) -> None:
    report = json.loads(wide_forms["json"])
    for change in (
        lambda r: r.pop("steps"),
        lambda r: r["steps"][0].update(price=0.5),
        lambda r: r["spent"].pop("reused"),
        lambda r: r["methods"]["icl"].update(more=1),
        lambda r: r["recommendation"].update(confidence=1.5),
        lambda r: r["methods"]["icl"]["cost"].update(build_price=0.5),
    ):
        changed = json.loads(json.dumps(report))
        change(changed)
        assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(changed)


def same_as_golden(path: Path, content: bytes) -> None:
    # Sums of floats may differ in the last digits between processors.
    text = re.sub(r"\d+\.\d{10,}", lambda m: f"{float(m[0]):.9g}", content.decode())
    if os.environ.get("INGRAIN_REWRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_json_has_what_the_schema_promises(forms: dict[str, bytes]) -> None:
    found = json.loads(forms["json"])
    for method in found["methods"].values():
        for kind in method["kinds"].values():
            assert {"accuracy", "n", "stderr", "ci95"} <= kind.keys()
            assert kind["ci95"][0] <= kind["accuracy"] <= kind["ci95"][1]
        assert {"build", "question"} <= method["cost"].keys()
    assert (
        found["methods"]["icl"]["cost"]["question_cold"]["flops"]
        > found["methods"]["icl"]["cost"]["question"]["flops"]
    )
    assert set(found["break_even"]["methods"]) == set(found["methods"]) - {"icl"}
    assert found["recommendation"]["method"] in found["methods"]
    covered = found["methods"]["augmented_finetune"]
    assert covered["covered"]["n"] + covered["uncovered"]["n"] == found["inputs"]["probes"]["row_count"]


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag


def test_html_is_whole_and_loads_nothing(forms: dict[str, bytes]) -> None:
    html = forms["html"].decode()
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.links == []
    assert "script" not in page.tags
    assert "url(" not in html
    assert page.tags.count("svg") == page.tags.count("desc") == 2
    assert page.tags.count("table") == page.tags.count("caption")
    assert len(forms["html"]) < 3 << 20


def test_html_shows_every_accuracy_of_the_json(forms: dict[str, bytes]) -> None:
    html = forms["html"].decode().replace("\u00a0", " ")
    for method in json.loads(forms["json"])["methods"].values():
        for kind in method["kinds"].values():
            value = 100 * kind["accuracy"]
            assert f"{value:.0f} %" in html or f"{value:.1f} %" in html


def test_html_says_that_the_bundled_model_is_narrow(study: studies_pb2.Study, material: Material) -> None:
    assert (
        b"real text needs a real checkpoint"
        in render(report.build(analyse.findings(study, material)))["html"]
    )
    material.models["model"].domain = ""
    assert b"real checkpoint" not in render(report.build(analyse.findings(study, material)))["html"]


def test_titles_are_escaped(study: studies_pb2.Study, material: Material) -> None:
    study.display_name = "<script>alert(1)</script>"
    assert b"<script>" not in render(report.build(analyse.findings(study, material)))["html"]


def test_a_study_of_one_method_has_a_report_too(study: studies_pb2.Study, material: Material) -> None:
    only = [p for p in material.participants if p.id == "base"]
    alone = replace(material, participants=only, derived={}, rows={})
    found = report.build(analyse.findings(study, alone))
    assert found["break_even"] is None
    assert found["methods"]["base"]["covered"] is None
    assert b"Use base" in render(found)["html"]


def rendered(study: studies_pb2.Study, material: Material) -> tuple[dict, str]:
    found = report.build(analyse.findings(study, material))
    return found, render(found)["html"].decode()


def test_a_kind_of_few_probes_has_an_interval_and_no_verdict(forms: dict[str, bytes]) -> None:
    found = json.loads(forms["json"])
    icl = found["methods"]["icl"]
    assert icl["kinds"]["list"]["n"] == 6
    assert icl["kinds"]["list"]["counted"] is False
    assert icl["kinds"]["list"]["ci95"][1] - icl["kinds"]["list"]["ci95"][0] > 0.3
    others = [kind["accuracy"] for kind in icl["kinds"].values() if kind["counted"]]
    assert icl["accuracy"] == pytest.approx(sum(others) / 3)
    assert all(c["n"] == 3 * 84 for c in found["comparisons"])
    assert "verdicts leave them out: list (6)" in forms["html"].decode()


def test_where_no_kind_has_enough_probes_all_count_and_it_is_said(
    study: studies_pb2.Study, material: Material
) -> None:
    few = [row for row in material.probe_rows if row["id"].endswith(("-0", "list"))]
    answers = {
        m: [a.without({r["id"] for r in material.probe_rows} - {r["id"] for r in few})]
        for m, (a,) in material.answers.items()
    }
    evaluations = {}
    for method, (evaluation,) in material.evaluations.items():
        evaluations[method] = [type(evaluation)()]
        evaluations[method][0].CopyFrom(evaluation)
        for kind in evaluations[method][0].kinds:
            kind.n = 6
    smaller = {**vars(material), "probe_rows": few, "answers": answers, "evaluations": evaluations}
    found, html = rendered(study, Material(**smaller))
    assert all(kind["counted"] for kind in found["methods"]["icl"]["kinds"].values())
    assert "No kind has 10 probes" in html


def test_probes_that_repeat_are_counted_once_and_it_is_said(
    study: studies_pb2.Study, material: Material
) -> None:
    again = {**material.probe_rows[0], "id": "again"}
    material.probe_rows.append(again)
    for name, (answers,) in material.answers.items():
        at = answers.ids.index(material.probe_rows[0]["id"])
        more = type(answers)(
            [*answers.ids, "again"],
            [*answers.kinds, answers.kinds[at]],
            [*answers.clusters, answers.clusters[at]],
            np.append(answers.values, 1 - answers.values[at]),
        )
        material.answers[name] = [more]
        next(k for k in material.evaluations[name][0].kinds if k.kind == "forward").n += 1
    found, html = rendered(study, material)
    assert found["methods"]["base"]["kinds"]["forward"]["n"] == 84
    assert found["comparisons"][0]["n"] == 3 * 84
    assert "1 probes repeat" not in html
    assert "1 probe repeats the text of an earlier one of its kind and was counted once: again." in html
    assert analyse.findings(study, material).methods["base"].kinds[0].n == 84


def test_choices_that_tie_are_said(study: studies_pb2.Study, material: Material) -> None:
    material.answers["icl"] = [replace(material.answers["icl"][0], tied=3)]
    _, html = rendered(study, material)
    assert "in the first place (icl 3)" in html


def test_few_groups_are_said(study: studies_pb2.Study, material: Material) -> None:
    for name, (answers,) in material.answers.items():
        fewer = [f"w{int(c[1:]) % 3}" for c in answers.clusters]
        material.answers[name] = [replace(answers, clusters=fewer)]
    _, html = rendered(study, material)
    assert (
        "fewer than 6 groups or documents, intervals and verdicts hold for further questions about these groups"
        in html
    )


def test_what_probes_stand_or_fall_with_is_said(study: studies_pb2.Study, material: Material) -> None:
    _, html = rendered(study, material)
    assert "questions about the same world belong together" in html
    study.spec.group_key = ""
    material = replace(material, contexts={"": 1900}, contexts_read={})
    by_document = dict(material.answers)
    for name, (answers,) in by_document.items():
        material.answers[name] = [replace(answers, clusters=[alone(id) for id in answers.ids])]
    found, html = rendered(study, material)
    assert found["inputs"]["clusters_by"] == ""
    assert "each was taken as independent of the others" in html
    found, html = rendered(study, replace(material, answers=by_document))
    assert found["inputs"]["clusters_by"] == "document"
    assert "questions about the same document belong together" in html
    assert "each was taken as independent" not in html


def test_comparisons_are_of_every_pair_but_controls(forms: dict[str, bytes]) -> None:
    found = json.loads(forms["json"])
    assert len(found["comparisons"]) == 6
    for entry in found["comparisons"]:
        assert "shuffled_finetune" not in (entry["candidate"], entry["baseline"])
        assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
        assert 0 <= entry["p_adjusted"] <= 1
        assert 0 <= entry["p_margin"] <= 1
        assert entry["detectable"] > 0


def test_every_step_has_its_tokens_and_its_price_and_they_add_up(wide_forms: dict[str, bytes]) -> None:
    found = json.loads(wide_forms["json"])
    steps = {step["id"]: step for step in found["steps"]}
    # At 0.50 EUR an hour; of what another server answers for by its tokens, and this step has none but those it read.
    trained = steps["train finetune"]
    assert trained["price"] == f"{trained['cost']['compute_seconds'] / 3600 * 0.5:.6f}".rstrip("0")
    asked = steps["evaluate icl@large"]["cost"]["prompt_token_count"]
    assert float(steps["evaluate icl@large"]["price"]) == pytest.approx(asked * 0.40 / 1e6)
    for status in ("DONE", "REUSED"):
        own = [step for step in steps.values() if step["status"] == status]
        together = found["spent"][status.lower()]
        assert together["amount"]["flops"] == sum(step["cost"]["flops"] for step in own)
        assert float(together["price"]) == pytest.approx(sum(float(step["price"]) for step in own), abs=1e-5)


def test_without_prices_steps_have_none(forms: dict[str, bytes]) -> None:
    found = json.loads(forms["json"])
    assert {step["price"] for step in found["steps"]} == {None}
    assert found["spent"]["done"]["price"] is None
    assert found["curve"]["unit"] == "FLOP"


def test_the_curve_is_building_and_asking(wide_forms: dict[str, bytes]) -> None:
    found = json.loads(wide_forms["json"])
    curve, cost = found["curve"], found["methods"]["finetune"]["cost"]
    assert curve["unit"] == "EUR"
    assert 300_000 in curve["question_counts"]
    for count, total in zip(curve["question_counts"], curve["totals"]["finetune"], strict=True):
        each = float(cost["thousand_questions_price"]) / 1000
        assert total == pytest.approx(float(cost["build_price"]) + count * each, rel=1e-2)
    assert set(curve["not_cached"]) == {"icl", "icl@large"}


def test_reading_that_was_not_measured_is_not_free(wide_study: studies_pb2.Study, wide: Material) -> None:
    (line,) = analyse.findings(wide_study, wide).methods["icl_subset"].cost.bill
    assert line.what == "reading the documents"
    assert line.price is not None
    assert line.price > 0


def test_the_break_even_is_worked_out_with_its_numbers(wide_forms: dict[str, bytes]) -> None:
    told = json.loads(wide_forms["json"])["break_even"]
    own, icl = told["methods"]["finetune"], told["icl"]
    numbers = f"({float(own['build_price']):.6g} − {float(icl['build_price']):.6g})"
    assert f"finetune: {numbers} / (" in wide_forms["md"].decode()
    assert f"finetune: {numbers} / (" in wide_forms["html"].decode()


def test_tables_have_headings_for_rows_and_columns(wide_forms: dict[str, bytes]) -> None:
    """What a screen reader says before each cell."""
    html = wide_forms["html"].decode()
    assert '<html lang="en">' in html
    for table in re.findall(r"<table>.*?</table>", html, re.S):
        body = table[table.index("<tbody>") :]
        rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
        assert rows
        assert all(row.startswith('<th scope="row"') for row in rows)
        if "<thead>" in table:
            heads = re.findall(r'<th scope="col"', table)
            assert all(len(re.findall(r"<t[dh]", row)) == len(heads) for row in rows)


def test_numbers_for_people() -> None:
    assert [si(v) for v in (0, 12, 1234, 9.999e12, 2.5e19)] == [
        "none",
        "12.0 FLOP",
        "1.23 kFLOP",
        "10.0 TFLOP",
        "25.0 EFLOP",
    ]


def test_what_a_judge_took_is_told_and_priced_as_its_own(
    wide_study: studies_pb2.Study, wide: Material
) -> None:
    judge = trainer_pb2.Model(name="projects/demo/models/judge", sha256="9" * 64)
    judge.endpoint.model_id = "large-2"
    provenance = wide.derived["augment"].provenance
    provenance.judge, provenance.judge_sha256 = judge.name, judge.sha256
    provenance.judge_cost.prompt_token_count, provenance.judge_cost.generated_token_count = 10_000, 2_500
    next(step for step in wide_study.steps if step.id == "augment").cost.CopyFrom(provenance.cost)
    found, html = rendered(wide_study, replace(wide, judge=judge))
    # 55 s at 0.50 EUR an hour, and 10,000 tokens at 0.40 and 2,500 at 1.60 EUR a million.
    assert found["augmentation"]["augment"]["judge"]["price"] == "0.008"
    priced = {step["id"]: step["price"] for step in found["steps"]}
    assert float(priced["augment"]) == pytest.approx(55 / 3600 * 0.5 + 0.008, abs=1e-6)
    line = found["methods"]["augmented_finetune"]["cost"]["bill"][0]
    assert (line["what"], line["price"]) == ("augmentation", priced["augment"])
    assert found["inputs"]["judge"]["sha256"] == judge.sha256
    said = "which read 10,000 tokens and wrote 2,500, for 0.008 EUR"
    assert f"Judged by <code>{judge.name}</code>, {said}" in html.replace("\u00a0", " ")
    assert said in render(found)["md"].decode()
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(found)) == []
    # Without a price for the judge there is none for the whole.
    judge.endpoint.model_id = "another"
    found, _ = rendered(wide_study, replace(wide, judge=judge))
    assert found["augmentation"]["augment"]["judge"]["price"] is None
    assert {step["id"]: step["price"] for step in found["steps"]}["augment"] is None
    assert found["curve"]["unit"] == "FLOP"
