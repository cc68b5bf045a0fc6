"""Rows of batches: what they ask, and what they answered."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingrain.row_rules import Row, RowChecker


def type_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _between(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and least <= value <= most


def _are_stops(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 8 and all(isinstance(stop, str) for stop in value)


ROLES = ("system", "developer", "user", "assistant")
MOST_MESSAGES = 1024
# As GenerateRequest takes them: what fits, and what a wrong one should have been.
PARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (_whole(1, 65536), "to be a whole number from 1 to 65536"),
    "temperature": (_between(0, 2), "to be a number from 0 to 2"),
    "top_p": (_between(0, 1), "to be a number from 0 to 1"),
    "seed": (_whole(-(1 << 63), (1 << 63) - 1), "to be a whole number of 64 bits"),
    "stop": (_are_stops, "to be a list of at most 8 strings"),
    "logprobs": (lambda value: isinstance(value, bool), "to be true or false"),
    "top_logprobs": (_whole(0, 64), "to be a whole number from 0 to 64"),
    "json_schema": (lambda value: isinstance(value, str | dict), "to be a JSON schema"),
}


def check_prompt(checker: "RowChecker", row: "Row") -> None:
    """What a batch asks: a prompt or messages, and `parameters` of this row."""
    if "messages" in row:
        if "prompt" in row:
            raise checker.error(
                "TWO_PROMPTS", "has both 'prompt' and 'messages'; keep one of them", "messages"
            )
        roles = [message["role"] for message in checker.messages(row)]
        if len(roles) > MOST_MESSAGES:
            raise checker.error("TOO_MANY", f"has {len(roles)} messages; at most {MOST_MESSAGES}", "messages")
        for index, role in enumerate(roles):
            if role not in ROLES:
                path = f"messages[{index}].role"
                raise checker.error(
                    "UNKNOWN_ROLE", f"'{path}' is {role!r}; it is one of {', '.join(ROLES)}", path
                )
    else:
        checker.text(row, "prompt")
    parameters = row.get("parameters", {})
    if not isinstance(parameters, dict):
        raise checker.error(
            "WRONG_TYPE", f"'parameters' is {type_of(parameters)}, not an object", "parameters"
        )
    for name, value in parameters.items():
        wrong = f"no parameter; there are {', '.join(PARAMETERS)}"
        if name in PARAMETERS:
            fits, expected = PARAMETERS[name]
            wrong = "" if fits(value) else f"{expected}, not {json.dumps(value)[:80]}"
        if wrong:
            path = f"parameters.{name}"
            raise checker.error("BAD_PARAMETER", f"'{path}' is {wrong}", path)


def check_answer(checker: "RowChecker", row: "Row") -> None:
    """What a batch answered."""
    checker.text(row, "id")
    if "error" in row:
        if not isinstance(row["error"], dict):
            raise checker.error("WRONG_TYPE", f"'error' is {type_of(row['error'])}, not an object", "error")
        for name in ("code", "message"):
            checker.text(row["error"], name, f"error.{name}")
    elif "scores" in row:
        scores = row["scores"]
        if not isinstance(scores, list) or not scores:
            raise checker.error(
                "WRONG_TYPE", "'scores' must be a list of objects, one for each choice", "scores"
            )
        for index, score in enumerate(scores):
            for name in ("sum_logprob", "mean_logprob", "token_count"):
                if not isinstance(score, dict) or not _is_number(score.get(name)):
                    path = f"scores[{index}].{name}"
                    raise checker.error("WRONG_TYPE", f"'{path}' is no number", path)
    elif not isinstance(row.get("completion"), str):  # an empty one is an answer
        raise checker.error("MISSING_FIELD", "has no text 'completion'", "completion")
