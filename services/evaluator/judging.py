"""Written answers are judged: another model is asked by a rubric, and says yes or no.

The judge writes nothing: the likelihoods of the two verdicts are compared, so that every judge gives every answer a
number, the same one each time.
"""

import re
from collections.abc import Sequence
from typing import Any

from ingrain import AsyncClient, errors
from ingrain.v1 import inference_pb2
from servicekit.errors import Invalid
from services.evaluator.asking import CALL_S, Given, of_probe, usage_of
from services.evaluator.metrics import softmax
from services.evaluator.probes import Probe

RUBRIC = (
    "Question: {question}\n"
    "Right answer: {reference}\n"
    "Given answer: {answer}\n"
    "Does the given answer say what the right answer says? Answer yes or no:"
)
VERDICTS = ("yes", "no")
_PLACE = re.compile(r"\{(\w+)\}")
_PLACES = ("question", "reference", "answer")


def check_rubric(rubric: str) -> None:
    """Raises Invalid unless the answer, and nothing that is not known here, has a place in it."""
    places = set(_PLACE.findall(rubric or RUBRIC))
    unknown = sorted(places - set(_PLACES))
    if unknown or "answer" not in places:
        wrong = f"has a place {{{unknown[0]}}}" if unknown else "has no {answer} in it"
        known = ", ".join(f"{{{place}}}" for place in _PLACES)
        raise Invalid(
            "BAD_RUBRIC", f"the rubric {wrong}; known places are {known}", field="evaluation.judge.rubric"
        )


def prompt_of(rubric: str, probe: Probe, answer: str) -> str:
    """The rubric filled in at once, so that braces in an answer stay what they are."""
    values = {"question": probe.question, "reference": ", ".join(probe.answers), "answer": answer}
    return _PLACE.sub(lambda place: values[place[1]], rubric or RUBRIC)


async def judge(client: AsyncClient, model: str, prompts: Sequence[str], batch: Sequence[Probe]) -> Given:
    """Answers: of each prompt the sums of `yes` and `no`."""
    items = [inference_pb2.ScoreItem(prompt=prompt, choices=VERDICTS) for prompt in prompts]
    request = inference_pb2.ScoreRequest(model=model, items=items)
    try:
        answer = await client.stubs.inference.Score(request, timeout=CALL_S)
    except errors.Invalid as error:
        raise of_probe(error, batch) from error
    found = [[choice.sum_logprob for choice in scores.choices] for scores in answer.items]
    return {"answers": found, "usage": usage_of(answer.usage)}


def judged(row: dict[str, Any], prompt: str, sums: Sequence[float]) -> dict[str, Any]:
    """The row with `judge_score` among its metrics and how it came about."""
    yes, no = sums
    return {
        **row,
        "metrics": {**row["metrics"], "judge_score": softmax(sums)[0]},
        "judge": {"prompt": prompt, "yes": yes, "no": no},
    }
