"""JSON as a capable model writes it -> a question with right and wrong answers."""

import json
import re
from collections.abc import Sequence
from typing import Any

from services.evaluator.probes import QUESTION
from services.evaluator.writing.drafts import (
    GIVES_AWAY,
    NOT_IN_SOURCE,
    UNPARSABLE,
    VERBATIM,
    WRONG_KIND,
    Draft,
    Dropped,
)
from services.evaluator.writing.sources import Document, Pool, content_words, normalized

NOT_SAID = "The documents do not say."
MOST_QUESTION, MOST_ANSWER = 500, 200  # characters
WRONG_CHOICES = 5
_FENCE = re.compile(r"^```\w*\s*|\s*```$")
_COMMA = re.compile(r",\s*([}\]])")


def draft(kind: str, output: str, asked: Sequence[Document], pool: Pool) -> Draft:
    """Raises Dropped. `asked`: the documents in sight when it was written, the one that it is about first."""
    found = parsed(output)
    question = _text(found.get("question"), MOST_QUESTION)
    if kind == "list":
        return _list(question, found, asked)
    right = NOT_SAID if kind == "unanswerable" else _text(found.get("right"), MOST_ANSWER)
    wrong = [_text(text, MOST_ANSWER) for text in _texts(found.get("wrong"))]
    if len({normalized(text) for text in [right, *wrong]}) != len(wrong) + 1 or len(wrong) > WRONG_CHOICES:
        raise Dropped(UNPARSABLE)
    sources = tuple(asked)
    if kind == "unanswerable":
        sources = (asked[0],)
        if any(normalized(text) in normalized(asked[0].text) for text in wrong):
            raise Dropped(WRONG_KIND)
    else:
        sources = _sources(kind, right, question, asked)
        if normalized(right) in normalized(question):
            raise Dropped(GIVES_AWAY)
        if kind != "verbatim" and normalized(question) in pool.text:
            raise Dropped(VERBATIM)
    return Draft(
        kind=kind,
        prompt=QUESTION.replace("{question}", question),
        sources=sources,
        right=right,
        wrong=tuple(wrong),
        statement=question,
    )


def parsed(output: str) -> dict[str, Any]:
    """The object in the output. Mended are fences, words around it and a comma before a closing bracket; no more."""
    text = _FENCE.sub("", output.strip())
    text = text[text.find("{") : text.rfind("}") + 1]
    try:
        found = json.loads(_COMMA.sub(r"\1", text))
    except ValueError:
        raise Dropped(UNPARSABLE) from None
    if not isinstance(found, dict):
        raise Dropped(UNPARSABLE)
    return found


def _sources(kind: str, right: str, question: str, asked: Sequence[Document]) -> tuple[Document, ...]:
    """The document asked about; of several, those that have the answer or a name of the question."""
    if kind != "cross_document":
        if normalized(right) not in normalized(asked[0].text):
            raise Dropped(NOT_IN_SOURCE)
        return (asked[0],)
    wanted = set(content_words(question)) | set(content_words(right))
    if not any(normalized(right) in normalized(document.text) for document in asked):
        raise Dropped(NOT_IN_SOURCE)
    used = tuple(document for document in asked if wanted & document.vocabulary)
    if len(used) < 2:
        raise Dropped(WRONG_KIND)
    return used


def _list(question: str, found: dict[str, Any], asked: Sequence[Document]) -> Draft:
    answers = [_text(text, MOST_ANSWER) for text in _texts(found.get("answers"))]
    if len({normalized(text) for text in answers}) < max(2, len(answers)):
        raise Dropped(UNPARSABLE)
    texts = [normalized(document.text) for document in asked]
    if not all(any(normalized(answer) in text for text in texts) for answer in answers):
        raise Dropped(NOT_IN_SOURCE)
    if any(normalized(answer) in normalized(question) for answer in answers):
        raise Dropped(GIVES_AWAY)
    sources = tuple(
        document
        for document, text in zip(asked, texts, strict=True)
        if any(normalized(answer) in text for answer in answers)
    )
    prompt = QUESTION.replace("{question}", question)
    return Draft("list", prompt, sources, answers=tuple(answers), statement=question)


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise Dropped(UNPARSABLE)
    return " ".join(value.split())


def _texts(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise Dropped(UNPARSABLE)
    return value
