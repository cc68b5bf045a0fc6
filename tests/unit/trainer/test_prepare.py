import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
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


MIXED = {
    "text": [{"text": f"Alva feeds heron {n}."} for n in range(6)],
    "pair": [{"prompt": f"who feeds heron {n}?", "completion": "Alva"} for n in range(4)],
    "chat": [
        {"messages": [{"role": "user", "content": f"and {n}?"}, {"role": "assistant", "content": f"Bo {n}"}]}
        for n in range(8)
    ],
}


@pytest.fixture
def mixed(folder):
    """The folder with three kinds of rows, each with its weight."""
    for name, rows in MIXED.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task(("text", 1.0, "text.jsonl"), ("pair", 2.5, "pair.jsonl"), ("chat", 0.5, "chat.jsonl"))


def segments(arrays, tokenizer, prefix=""):
    """Text and learned text of each segment of the packed rows."""
    ids, positions, labels, counts = (
        arrays[prefix + name] for name in ("input_ids_RL", "position_ids_RL", "labels_RL", "token_count_R")
    )
    found = []
    for r, count in enumerate(counts):
        starts = [*np.flatnonzero(positions[r, :count] == 0), count]
        for start, end in itertools.pairwise(starts):
            learned = labels[r, start:end]
            found.append((tokenizer.decode(ids[r, start:end]), tokenizer.decode(learned[learned >= 0])))
    return found


@pytest.mark.parametrize("chat_template", [False, True])
def test_documents_pairs_and_conversations_are_trained_together_by_weight(
    folder, mixed, build_checkpoint, chat_template
):
    (folder / "tokenizer").unlink()
    (folder / "tokenizer").symlink_to(build_checkpoint("llama", chat_template=chat_template))
    arrays, summary = prepare(folder, mixed)
    found = segments(arrays, load_tokenizer(folder / "tokenizer"))
    assert summary.row_count == len(found) == 6 + 10 + 4
    texts = Counter(whole for whole, _ in found)
    assert [texts[f"<s>Alva feeds heron {n}.</s>"] for n in range(6)] == [1] * 6
    pair = (
        "<|user|>who feeds heron {}?</s><|assistant|>Alva</s>"
        if chat_template
        else "<s>who feeds heron {}? Alva</s>"
    )
    times = [texts[pair.format(n)] for n in range(4)]
    assert (sum(times), set(times)) == (10, {2, 3}), "two passes and half of one"
    learned = Counter(answer.strip() for whole, answer in found if "and" in whole)
    assert set(learned.values()) == {1}
    assert all(answer.startswith("Bo ") for answer in learned)


def test_rows_are_held_out_before_they_are_repeated(folder, mixed):
    arrays, summary = prepare(folder, replace(mixed, eval_ratio=0.2))
    tokenizer = load_tokenizer(folder / "tokenizer")
    away, trained = segments(arrays, tokenizer, "held_out."), segments(arrays, tokenizer)
    assert summary.held_out_row_count == len(away) == round(0.2 * 18)
    assert not set(away) & set(trained)
    named = replace(mixed, held_out=(("e", "a.jsonl"),))
    arrays, summary = prepare(folder, named)
    assert summary.held_out_row_count == 2
    assert [whole for whole, _ in sorted(segments(arrays, tokenizer, "held_out."))] == [
        "<s>Alva feeds the heron.</s>",
        "<s>who? Alva</s>",
    ]


def test_replayed_tokens_are_counted(folder, mixed):
    _, without = prepare(folder, mixed)
    _, summary = prepare(folder, replace(mixed, replay=("r", 0.25, "a.jsonl")))
    assert summary.token_count == without.token_count + summary.replay_token_count
    assert summary.replay_token_count == pytest.approx(0.25 * summary.token_count, abs=10)


def test_lost_rows_are_counted_or_stop_the_training(folder, mixed):
    (folder / "text.jsonl").write_text(
        "".join(json.dumps({"text": "Alva " * n}) + "\n" for n in range(1, 40))
    )
    short = replace(mixed, max_length=30, long_rows="drop")
    _, summary = prepare(folder, short)
    assert 0 < summary.dropped_row_count < 39
    with pytest.raises(Invalid, match=r"more than max_lost_row_ratio 0\.05 allows") as caught:
        prepare(folder, replace(short, max_lost_row_ratio=0.05))
    assert caught.value.reason == "ROWS_LOST"


def test_probes_lie_beside_the_rows(folder, mixed):
    probe = {"id": "p", "kind": "k", "prompt": "who?", "choices": ["Alva", "Bo"], "answer": "Bo"}
    (folder / "probes.jsonl").write_text(json.dumps(probe))
    arrays, summary = prepare(folder, replace(mixed, probes=("p", "probes.jsonl"), context_window=64))
    assert summary.probe_count == 1
    assert arrays["probes.right_C"].tolist() == [0, 1]


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
