"""Following a training from the command line: a line per step without a terminal, JSON, its log, 80 columns."""

import json
from typing import Any

import pytest
import typer

from ingrain.cli import watching
from ingrain.testing import FakePlatform
from ingrain.v1 import trainer_pb2


@pytest.fixture
def tuned(ingrain, documents: list[dict[str, Any]], client) -> str:
    client.models.import_("bundled://small", id="small").result(60)
    client.datasets.upload(documents, id="docs")
    done = ingrain("model", "train", "--base", "small", "--dataset", "docs", "--id", "tuned", "-o", "name")
    assert done.returncode == 0, done.stderr
    return "tuned"


def test_every_step_is_a_line(ingrain, platform: FakePlatform, tuned: str) -> None:
    done = ingrain("model", "watch", tuned)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("step 1/")
    assert "measured after step" in lines[-1]
    assert max(map(len, lines[:-1])) <= 80
    late = ingrain("model", "watch", tuned, "--from", str(len(lines)), "-o", "json")
    (last,) = [json.loads(line) for line in late.stdout.splitlines()]
    assert last["step"] == len(lines)


def test_the_log_is_plain_lines(ingrain, tuned: str) -> None:
    done = ingrain("model", "logs", tuned)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "--- attempt 1")


def test_a_long_run_fits_80_columns() -> None:
    snapshot = trainer_pb2.TrainingSnapshot(
        step=123_456,
        step_count=999_999,
        loss=12.3456,
        learning_rate=1e-4,
        grad_norm=1234.5,
        tokens_per_second=123_456,
    )
    snapshot.remaining_duration.FromSeconds(123_456)
    assert len(watching.line(snapshot)) <= 80
    snapshot = trainer_pb2.TrainingSnapshot(
        step=1200, step_count=3000, loss=2.3456, learning_rate=1e-4, grad_norm=1.234, tokens_per_second=12_345,
        model_flops_utilization=0.456,
    )  # fmt: skip
    snapshot.remaining_duration.FromSeconds(192)
    said = watching.line(snapshot)
    assert said == "step 1200/3000 loss 2.346 lr 1.0e-04 norm 1.23 12.3k tok/s MFU 46% ETA 3m12s"


def test_ctrl_c_leaves_the_training_running(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        models = property(lambda self: self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def watch(self, *_):
            raise KeyboardInterrupt
            yield

    context: Any = type("Context", (), {"obj": type("Obj", (), {"client": staticmethod(Interrupted)})})
    with pytest.raises(typer.Exit) as caught:
        watching.watch(context, "m")
    assert caught.value.exit_code == 130
