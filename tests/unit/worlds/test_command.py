"""`ingrain world`."""

import json

import pytest
from typer.testing import CliRunner

from ingrain.cli import app
from ingrain.worlds import GENERATORS, SIZES, sized


def ingrain(*arguments):
    return CliRunner().invoke(app, ["world", *map(str, arguments)])


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_world_and_size_is_listed_with_its_counts():
    assert set(SIZES) == set(GENERATORS)
    listed = json.loads(ingrain("list", "-o", "json").stdout)
    assert [(row["world"], row["size"]) for row in listed] == [(w, s) for w in SIZES for s in SIZES[w]]
    assert all(sum(row["kinds"].values()) == row["probes"] > 0 for row in listed)
    counts = {(row["world"], row["size"]): (row["documents"], row["probes"]) for row in listed}
    assert counts["reversals", "paper"] == (1000, 200)
    assert counts["syllogisms", "paper"] == (69, 138)
    assert counts["reversal_curse", "paper"] == (3600, 1800)
    assert "semantic" in ingrain("list").stdout


@pytest.mark.parametrize(("world", "size"), [("semantic", "paper"), ("family", "small"), ("suite", "small")])
def test_generated_files_hold_the_world(tmp_path, world, size):
    done = ingrain("generate", world, tmp_path / "made", "--size", size, "--seed", 4)
    assert done.exit_code == 0, done.output
    expected = sized(world, 4, size)
    assert rows(tmp_path / "made" / "documents.jsonl") == expected.documents
    assert rows(tmp_path / "made" / "probes.jsonl") == expected.probes
    assert f"{len(expected.documents)} documents and {len(expected.probes)} probes" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("cats",), "no world 'cats'"), (("catalogue", "--size", "paper"), "small, not")],
)
def test_what_there_is_not_is_refused_with_what_there_is(tmp_path, arguments, message):
    world, *options = arguments
    done = ingrain("generate", world, tmp_path / "made", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "made").exists()
