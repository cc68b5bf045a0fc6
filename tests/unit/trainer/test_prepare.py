import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from transformers import AutoTokenizer

from servicekit.errors import Invalid
from services.trainer.prepare import PrepareTask, load_tokenizer, main, prepare

ROWS = [{"text": "Alva feeds the heron."}, {"prompt": "who?", "completion": "Alva"}]


@pytest.fixture
def folder(tmp_path, build_checkpoint):
    """A prepared folder: rows beside the tokenizer; `task(weights)` describes it."""
    (tmp_path / "tokenizer").symlink_to(build_checkpoint("llama"))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "none.jsonl").write_text("")
    return tmp_path


def task(*datasets):
    return PrepareTask(tuple(datasets), "tokenizer", "document", False, 64, 1)


def test_counts_rows_tokens_and_padding(folder):
    arrays, summary = prepare(folder, task(("d", 2.0, "a.jsonl")))
    tokens = int(arrays["token_count_R"].sum())
    assert (summary.row_count, summary.token_count) == (4, tokens)
    assert summary.packed_row_count == len(arrays["input_ids_RL"]) == 1
    assert summary.padding_ratio == pytest.approx(1 - tokens / 64)
    assert summary.mean_row_tokens == tokens / 4


def test_steps_are_reckoned_from_tokens_where_they_are_asked_for(folder):
    asked = replace(task(("d", 1.0, "a.jsonl")), rows_per_step=2)
    assert prepare(folder, asked)[1].nearest_steps == 0
    tokens = prepare(folder, asked)[1].token_count  # one packed row, so a step reads it twice
    _, summary = prepare(folder, replace(asked, max_tokens=tokens * 7))
    assert summary.nearest_steps == 3
    with pytest.raises(Invalid, match="more than 10000000; lower max_tokens") as caught:
        prepare(folder, replace(asked, max_tokens=10**12))
    assert caught.value.field == "training.max_tokens"


def test_a_dataset_without_rows_is_refused(folder):
    with pytest.raises(Invalid, match="e has no rows") as caught:
        prepare(folder, task(("d", 1.0, "a.jsonl"), ("e", 1.0, "none.jsonl")))
    assert (caught.value.reason, caught.value.field) == ("EMPTY_DATASET", "datasets[1]")


def test_the_process_leaves_rows_or_an_error(folder):
    (folder / "task.json").write_text(json.dumps(asdict(task(("d", 1.0, "a.jsonl")))))
    main(folder)
    assert json.loads((folder / "summary.json").read_text())["row_count"] == 2
    assert (folder / "packed.safetensors").exists()
    (folder / "task.json").write_text(json.dumps(asdict(task(("e", 1.0, "none.jsonl")))))
    main(folder)
    assert json.loads((folder / "error.json").read_text())["reason"] == "EMPTY_DATASET"


@pytest.mark.parametrize("options", [{}, {"bos": False}, {"chat_template": True}])
def test_reads_text_as_autotokenizer_does_without_torch(build_checkpoint, options):
    path = build_checkpoint("llama", **options)
    auto, ours = AutoTokenizer.from_pretrained(path), load_tokenizer(path)
    assert type(ours) is type(auto)
    assert ours("Alva feeds it.\n")["input_ids"] == auto("Alva feeds it.\n")["input_ids"]
    assert (ours.eos_token_id, ours.chat_template) == (auto.eos_token_id, auto.chat_template)
    code = (
        "import sys; from pathlib import Path; from services.trainer.prepare import load_tokenizer; "
        "load_tokenizer(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 0
