"""Local: questions that a document answers, each with its answer in one row, which so teaches both.

After Park et al. 2025 (Self-QA, 2505.01812): what is asked without the document is answered without it.
"""

import re

from services.augmenter.strategies.base import ONE_DOCUMENT, Strategy, each_alone, lines

_QUESTION = re.compile(r"(?:question|q)\s*\d*\s*[:.]\s*", re.IGNORECASE)
_ANSWER = re.compile(r"\s*\b(?:answer|a)\s*\d*\s*:\s*", re.IGNORECASE)


def parse(output: str) -> list[str]:
    """A row for each question, its answer behind it, whether on its line or on the next; what has no question or no answer
    stays as it was written."""
    found: list[str] = []
    open_question = ""
    for line in lines(output):
        question, answer = _parts(line)
        if open_question and not question and answer:
            found.append(f"{open_question} {answer}")
            open_question = ""
            continue
        if open_question:
            found.append(open_question)
            open_question = ""
        if question and answer:
            found.append(f"{question} {answer}")
        elif question:
            open_question = question
        else:
            found.append(line)
    return found + [open_question] * bool(open_question)


def _parts(line: str) -> tuple[str, str]:
    """Question and answer of a line, each empty where it has none."""
    marked = _QUESTION.match(line)
    rest = line[marked.end() :] if marked else line
    split = _ANSWER.search(rest)
    if split:
        return rest[: split.start()].strip(), rest[split.end() :].strip()
    return (rest.strip(), "") if marked or rest.endswith("?") else ("", "")


strategy = Strategy("question_answer", ONE_DOCUMENT, each_alone, parse, source="Park et al. 2025")
