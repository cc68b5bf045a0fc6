"""`ingrain lineage` and `ingrain augment`: what is asked for, what is told, 80 columns, nothing withdrawn unasked."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingrain import Client
from ingrain.cli import augment as command
from ingrain.cli import augment_options as options
from ingrain.cli import lineage as lineage_command
from ingrain.cli import progress
from ingrain.cli.output import Format
from ingrain.errors import Invalid
from ingrain.lineage_of import Lineage, Rows
from ingrain.testing.services import Augmenter
from ingrain.v1 import augmenter_pb2, common_pb2, datasets_pb2, trainer_pb2


@pytest.fixture
def derived(client: Client, documents: list[dict[str, Any]]) -> Client:
    client.models.import_("bundled://small", id="small").result(60)
    client.datasets.upload(documents, id="docs")
    client.datasets.augment("docs", "small", id="first").result(60)
    client.models.create("small", "first", id="trained").result(60)
    client.contexts.create("small", "docs", id="reading").result(60)
    return client


def test_lineage_is_a_table_or_json(ingrain, derived: Client) -> None:
    shown = ingrain("lineage", "docs", "2")
    assert shown.returncode == 0, shown.stderr
    for part in ("first", "1 row, derived from them", "reading", "small reads docs", "trained on first"):
        assert part in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    found = json.loads(ingrain("lineage", "docs", "2", "-o", "json").stdout)
    assert found["rows"][1] == {"dataset": "projects/default/datasets/first", "depth": 1, "row_ids": ["a1"]}
    assert found["models"] == ["projects/default/models/trained"]
    names = ingrain("lineage", "docs", "2", "-o", "name").stdout.splitlines()
    assert "projects/default/contexts/reading" in names
    assert ingrain("lineage", "none", "2").returncode == 3
    assert ingrain("lineage", "docs").returncode == 2


def test_nothing_is_withdrawn_before_somebody_said_yes(ingrain, derived: Client) -> None:
    asked = ingrain("lineage", "docs", "2", "--withdraw")
    assert asked.returncode == 1
    assert "Withdraw 1 row of docs, 1 row derived from them and 1 contexts?" in asked.stderr
    assert len(list(derived.datasets.rows("docs"))) == 3
    assert ingrain("lineage", "docs", "2", "--delete-models").returncode == 2

    done = ingrain("lineage", "docs", "2", "--withdraw", "--yes")
    assert done.returncode == 0, done.stderr
    assert "2 rows of 2 datasets withdrawn." in done.stdout
    assert "The model trained was trained on them; train it again or delete it." in done.stdout
    assert "first: 1 withdrawn." in done.stderr
    assert len(list(derived.datasets.rows("docs"))) == 2
    assert not list(derived.contexts.list())

    both = ingrain("lineage", "docs", "1", "--withdraw", "--delete-models", "-y", "-o", "json")
    said = json.loads(both.stdout)
    assert said["deleted"] == ["projects/default/models/trained"]
    assert (said["retrain"], said["remaining"]) == ([], [])


def test_a_long_lineage_fits_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage_command.stdout, "width", 80)
    name = "projects/default/models/a-model-with-quite-a-long-name"
    models = tuple(trainer_pb2.Model(name=f"{name}-{n}", base_model=f"{name}-{n - 1}") for n in range(30))
    rows = (Rows("projects/default/datasets/a-dataset-with-a-long-name", 3, ("x",) * 12345),)
    lineage_command._show(Lineage("projects/default/datasets/d", ("x",), rows, models=models), Format.TABLE)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("12,345 rows", "3 derivations away", "and 18 more"):
        assert part in shown


def test_every_option_reaches_the_spec(
    ingrain, derived: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("{document}\n\nAs a rhyme:\n")
    seen: list[augmenter_pb2.AugmentationSpec] = []
    start = Augmenter._start

    def watched(self: Augmenter, request: Any) -> Any:
        seen.append(request.spec)
        return start(self, request)

    monkeypatch.setattr(Augmenter, "_start", watched)
    done = ingrain(
        "augment", "docs", "--model", "small", "--id", "wide",
        "--strategy", "rephrase", "--strategy", "rhyme",
        "--samples", "3", "--target-tokens", "5000", "--temperature", "0", "--seed", "7", "--max-tokens", "40",
        "--gate", "near-duplicate=0.8", "--gate", "on-topic", "--gate", "contradiction",
        "--gate", "judge=small", "--gate", "max-characters=300", "--gate", "keep-copies",
        "--prompt", f"rhyme={tmp_path}/mine.txt:one-document:structured",
        "--context-documents", "5", "--original-copies", "1", "--min-agreement", "2",
        "--group-key", "world", "--distinct-key", "fact", "-o", "table",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (spec,) = seen
    wanted = augmenter_pb2.AugmentationSpec(
        dataset="projects/default/datasets/docs",
        model="projects/default/models/small",
        strategies=["rephrase", "rhyme"],
        samples_per_document=3,
        temperature=0.0,
        max_tokens=40,
        seed=7,
        group_key="world",
        distinct_key="fact",
        min_agreement=2,
        context_document_count=5,
        target_tokens=5000,
        original_copies=1,
    )
    wanted.prompts.add(
        strategy="rhyme", text="{document}\n\nAs a rhyme:", sees="ONE_DOCUMENT", structured=True
    )
    gates = wanted.gates
    gates.near_duplicate_threshold, gates.on_topic, gates.likelier_than_contradiction = 0.8, True, True
    gates.judge, gates.max_characters, gates.keep_copies = "projects/default/models/small", 300, True
    assert spec == wanted
    assert max(map(len, done.stdout.splitlines())) <= 80
    for part in ("3 rows from docs.", "kept", "rephrase", "dropped", "copy", "Zed is an internal tool"):
        assert part in done.stdout


def test_the_same_request_is_derived_once_and_programs_get_lines(ingrain, derived: Client) -> None:
    again = ("--request-id", "night-1", "augment", "docs", "--model", "small", "--id", "once", "-o", "lines")
    first, second = ingrain(*again), ingrain(*again)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    result = json.loads(first.stdout.splitlines()[-1])
    assert (result["event"], result["result"]["name"]) == ("result", "projects/default/datasets/once")
    assert len([one for one in derived.datasets.list() if one.name.endswith("/once")]) == 1


def test_a_bar_says_how_long_it_will_take() -> None:
    from rich.progress import Progress

    metadata = common_pb2.OperationMetadata(stage="generating", completed_count=10, total_count=400)
    metadata.message = "12.5 prompts/s, about 3 min left, 20 were there already"
    columns = Progress(progress._Counts(), progress._Time())
    bars = progress._Bars(columns)
    bars.step("derived generating", "RUNNING", metadata)
    (task,) = columns.tasks
    assert progress._Time().render(task).plain == "3 min left"
    metadata.message = ""
    bars.step("derived generating", "RUNNING", metadata)
    assert "left" not in progress._Time().render(task).plain


def test_a_preview_shows_prompts_and_rows_and_stores_nothing(ingrain, derived: Client) -> None:
    before = len(list(derived.datasets.list()))
    shown = ingrain("augment", "docs", "--model", "small", "--strategy", "rephrase", "--preview", "2")
    assert shown.returncode == 0, shown.stderr
    for part in ("rephrase", "prompt", "In other words:", "kept", "It is said that", "dropped", "(copy)"):
        assert part in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    preview = ("augment", "docs", "--model", "small", "--preview", "1")
    assert len(json.loads(ingrain(*preview, "-o", "json").stdout)["rows"]) == 1
    estimated = ingrain("augment", "docs", "--model", "small", "--estimate", "-o", "json")
    assert json.loads(estimated.stdout)["row_count"] == "3"
    started = ingrain("augment", "docs", "--model", "small", "--no-wait", "--id", "later")
    assert started.stdout.startswith("projects/default/datasets/later/operations/")
    assert len(list(derived.datasets.list())) == before + 1


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("near-duplicate=much", "is no number"),
        ("on-topic=1", "there is"),
        ("judge", "there is"),
        ("no", "there is"),
    ],
)
def test_a_gate_that_is_none_is_named(gate: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        options.gates_of([gate], str)


def test_a_prompt_file_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "a:b.txt"
    odd.write_text("{document}\n")
    assert options.prompts_of([f"reverse={odd}"]) == [
        {"strategy": "reverse", "text": "{document}", "structured": False}
    ]
    for wrong in ("reverse", f"reverse={tmp_path}/none.txt", "=x"):
        with pytest.raises(Invalid, match="--prompt"):
            options.prompts_of([wrong])


def test_what_was_made_is_told_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.stdout, "width", 80)
    dataset = datasets_pb2.Dataset(name="projects/default/datasets/derived", row_count=12345)
    made = dataset.provenance
    made.source_dataset = "projects/default/datasets/documents"
    made.strategies.extend(["rephrase", "link"])
    made.kept_counts["rephrase"], made.kept_counts["link"] = 12000, 345
    made.dropped_counts["near_duplicate"], made.dropped_counts["copy"] = 99, 1000
    made.dropped_examples["copy"].texts.append(
        "A sentence of the documents\nthat is much longer than a line " * 5
    )
    made.prompt_count, made.reused_prompt_count, made.token_count = 2000, 1500, 250_000
    made.cost.prompt_token_count, made.cost.generated_token_count, made.cost.wall_seconds = 10**6, 10**5, 300
    made.cost.cached_token_count = 9 * 10**6
    made.notes.append(
        "The groups do not fit the model's window, so that each prompt reads the 12 likest documents."
    )
    command._show_made(dataset, Format.TABLE)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "2,000 prompts, 1,500 of them answered before." in text
    assert "It took 5 min." in text
    assert text.index("rephrase 12,000") < text.index("link 345")
    assert "near duplicate" in text
    assert text.index("copy 1,000") < text.index("near duplicate 99")
    assert command.shortened("x" * 5000).count("x") == 900


def test_strategies_stand_in_the_order_in_which_they_were_asked_for() -> None:
    assert command.in_order(["about", "reverse", "mine"], ["reverse", "link", "about"]) == [
        "reverse",
        "about",
        "mine",
    ]


def test_long_prompts_of_a_preview_are_cut_in_the_middle(capsys: pytest.CaptureFixture[str]) -> None:
    shown = augmenter_pb2.PreviewAugmentationResponse(prompts={"link": "first " + "y " * 3000 + "last"})
    command._show_preview(shown, Format.TABLE, [])
    text = capsys.readouterr().out
    assert "first" in text
    assert "last" in text
    assert "characters ..." in text
