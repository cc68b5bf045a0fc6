import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import Client


@pytest.fixture(autouse=True)
def stocked(client: Client, documents: list[dict[str, Any]]) -> None:
    client.datasets.upload(documents, id="docs")
    client.models.import_("bundled://small", id="small").result(timeout_s=10)


def test_probes_from_documents_to_an_edited_file(ingrain, client: Client, tmp_path: Path) -> None:
    to = tmp_path / "probes.jsonl"
    done = ingrain("probes", "generate", "docs", "--model", "small", "--id", "p-1", "--to", str(to))
    assert (done.returncode, done.stdout) == (0, "p-1\n")
    assert "Kept: 3 verbatim." in done.stderr
    assert "Edit it" in done.said
    rows = [json.loads(line) for line in to.read_text().splitlines()]
    assert rows == list(client.datasets.rows("p-1"))
    assert all(row["answer"] in row["choices"] for row in rows)
    # An edited file is a dataset like any other.
    to.write_text("".join(json.dumps({**row, "kind": "mine"}) + "\n" for row in rows[:2]))
    assert ingrain("dataset", "upload", str(to), "--id", "p-2").returncode == 0
    made = client.evaluations.create("small", "p-2", dataset="docs").result(timeout_s=10)
    assert [(kind.kind, kind.n) for kind in made.kinds] == [("mine", 2)]


def test_an_edited_file_is_never_overwritten(ingrain, client: Client, tmp_path: Path) -> None:
    to = tmp_path / "probes.jsonl"
    to.write_text("edited\n")
    refused = ingrain("probes", "generate", "docs", "--model", "small", "--to", str(to))
    assert refused.returncode == 2
    assert "edited" in refused.stderr
    assert to.read_text() == "edited\n"
    assert [d.name for d in client.datasets.list()] == ["projects/default/datasets/docs"]


def test_probes_as_json_estimated_and_from_python(ingrain, client: Client) -> None:
    done = ingrain("probes", "generate", "docs", "--model", "small", "--id", "p-1", "-o", "json")
    found = json.loads(done.stdout)
    assert (found["name"], found["kept"], found["row_count"]) == (
        "projects/default/datasets/p-1",
        {"verbatim": 3},
        3,
    )
    assert ingrain("probes", "generate", "docs", "--model", "small", "--estimate").returncode == 0
    made = client.evaluations.generate_probes("docs", "small", "p-2", style="cloze", count_per_kind=2)
    assert made.result(timeout_s=10).row_count == 2
    assert ingrain("probes", "generate", "none", "--model", "small").returncode == 3
    assert ingrain("probes", "generate", "docs", "--model", "small", "--style", "odd").returncode == 1
