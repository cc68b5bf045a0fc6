"""Written answers judged by a served model: what it was asked, what it said, what that took."""

import math
from pathlib import Path
from typing import Any

import pytest

from ingrain import errors
from ingrain.v1 import common_pb2, trainer_pb2
from services.evaluator.judging import RUBRIC

PROJECT = "projects/demo"
MODEL = Path(__file__).parents[3] / "models" / "small"
SHORT = "{answer}. That is {reference}:"


@pytest.fixture
def questions(world: Any, probes: Any) -> list[dict[str, Any]]:
    """Two lists, a single answer and two choices, without documents."""
    lists = [probe for probe in probes if probe["kind"] == "list"][:2]
    owner = {"id": "owner", "kind": "owner", "question": "Who owns {answer}?", "answers": ["Ann Bell"]}
    rows = [*lists, owner, *[probe for probe in probes if "choices" in probe][:2]]
    world.datasets.add("questions", rows)
    return rows


def said_yes(prompt: str) -> float:
    """The probability of ` yes` against ` no` after the prompt, by plain transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    sums, begin = [], len(tokenizer(prompt)["input_ids"])
    for verdict in ("yes", "no"):
        ids = tokenizer(f"{prompt} {verdict}")["input_ids"]
        with torch.inference_mode():
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        sums.append(float(sum(logprobs[i - 1, ids[i]] for i in range(begin, len(ids)))))
    return 1 / (1 + math.exp(sums[1] - sums[0]))


async def test_written_answers_are_judged_and_choices_are_not(world: Any, questions: Any) -> None:
    other = world.behind.models[f"{PROJECT}/models/judge"] = trainer_pb2.Model()
    other.CopyFrom(world.behind.models[f"{PROJECT}/models/small"])
    other.name = f"{PROJECT}/models/judge"
    alone = await world.evaluated("alone", "questions")
    made = await world.evaluated("judged", "questions", judge="judge", rubric=SHORT)
    before, rows = await world.results("alone"), await world.results("judged")
    for probe in questions:
        row = rows[probe["id"]]
        if "choices" in probe:
            assert row == before[probe["id"]]
            continue
        prompt = f"{row['answer']}. That is {', '.join(probe['answers'])}:"
        assert row["judge"]["prompt"] == prompt
        assert row["metrics"] == before[probe["id"]]["metrics"] | {
            "judge_score": row["metrics"]["judge_score"]
        }
        assert row["metrics"]["judge_score"] == pytest.approx(said_yes(prompt), abs=1e-3)
        assert (row["metric"], row["value"]) == (before[probe["id"]]["metric"], before[probe["id"]]["value"])
    lists = [rows[probe["id"]]["metrics"]["judge_score"] for probe in questions if probe["kind"] == "list"]
    by_kind = {kind.kind: kind for kind in made.kinds}
    assert by_kind["list"].metrics["judge_score"] == pytest.approx(sum(lists) / len(lists))
    assert by_kind["list"].metric == "f1"
    assert "judge_score" not in by_kind[questions[-1]["kind"]].metrics

    assert (made.judge.model, made.judge.rubric) == (other.name, SHORT)
    assert made.judge.model_sha256 == other.sha256
    assert made.judge_cost.prompt_token_count > 0
    assert made.judge_cost.generated_token_count == 0
    for field in ("prompt_token_count", "generated_token_count", "flops"):
        assert getattr(made.cost, field) == getattr(alone.cost, field)
    assert not alone.HasField("judge_cost")
    assert not alone.HasField("judge")


async def test_the_rubric_of_the_house_and_what_judging_will_take(world: Any, questions: Any) -> None:
    made = await world.evaluated("judged", "questions", judge="small")
    assert made.judge.rubric == RUBRIC
    row = (await world.results("judged"))["owner"]
    assert row["judge"]["prompt"] == RUBRIC.format(
        question="Who owns {answer}?", reference="Ann Bell", answer=row["answer"]
    )
    rehearsed = await world.user.evaluations.create("small", "questions", judge="small", validate_only=True)
    (note,) = [note for note in rehearsed.metadata.estimate.notes if "judge" in note]
    assert "each of 3 answers" in note
    tokens = int(note.split("about ")[1].split()[0])
    assert tokens == pytest.approx(made.judge_cost.prompt_token_count / 3, rel=0.5)


async def test_a_judge_that_cannot_judge_is_refused(world: Any, questions: Any) -> None:
    unfinished = f"{PROJECT}/models/unfinished"
    world.behind.models[unfinished] = trainer_pb2.Model(name=unfinished, state=common_pb2.CREATING)
    for how, kind, field in (
        ({"judge": "none"}, errors.NotFound, ""),
        ({"judge": "unfinished"}, errors.WrongState, ""),
        ({"judge": "small", "rubric": "Right?"}, errors.Invalid, "evaluation.judge.rubric"),
        ({"judge": "small", "rubric": "{answer} {reply}"}, errors.Invalid, "evaluation.judge.rubric"),
    ):
        with pytest.raises(kind) as caught:
            await world.user.evaluations.create("small", "questions", **how)
        assert [v.field for v in caught.value.field_violations] == ([field] if field else [])
    with pytest.raises(errors.OperationFailed) as failed:
        await world.evaluated("choices", "reversals", judge="small")
    assert failed.value.reason == "NOTHING_TO_JUDGE"
    with pytest.raises(errors.OperationFailed) as failed:
        await world.evaluated("long", "questions", judge="small", rubric="{answer} {question} " * 300)
    assert failed.value.reason == "PROMPT_TOO_LONG"
    assert "probes['" in failed.value.field_violations[0].field


async def test_a_judge_that_is_away_is_asked_again_and_the_subject_is_not(world: Any, questions: Any) -> None:
    trouble = world.behind.trouble
    trouble.away["Score"] = (0, 4)  # all four tries of the client; questions come before choices
    made = await world.evaluated("judged", "questions", judge="small")
    assert (trouble.answered["Generate"], trouble.answered["Score"]) == (1, 2)
    assert {kind.kind: "judge_score" in kind.metrics for kind in made.kinds if kind.metric != "acc"} == {
        "list": True,
        "owner": True,
    }
