"""What a row may be. Every error says which row (counted from 1, as an editor does) and which field (from 0).

The platform checks what comes in by these rules, and so does the fake of `ingrain.testing`.
"""

import abc
import json
from typing import Any

from ingrain import bulk_row_rules
from ingrain.bulk_row_rules import type_of
from ingrain.v1.datasets_pb2 import Dataset

GREATEST_LINE_BYTES = 3 << 20  # a row must fit a message of gRPC
Row = dict[str, Any]
Kind = Dataset.Kind


class RowChecker(abc.ABC):
    """Checks rows in order and remembers ids. `kind` unspecified: decided from the first row."""

    def __init__(self, kind: int = Kind.KIND_UNSPECIFIED) -> None:
        self.kind = kind
        self.count = 0
        self._ids: set[str] = set()

    @abc.abstractmethod
    def refused(self, reason: str, message: str, field: str, row: int) -> Exception:
        """INVALID_ARGUMENT as whoever checks raises it. `field`: a path like `rows[16].answer`; `row`: 17 for that."""

    def check_line(self, line: bytes) -> Row | None:
        """The checked row of one line, None for a blank one."""
        if len(line) > GREATEST_LINE_BYTES:
            raise self.error(
                "ROW_TOO_LONG", f"has {len(line)} bytes; at most {GREATEST_LINE_BYTES} are allowed"
            )
        if not line.strip():
            return None
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
        except UnicodeDecodeError as error:
            raise self.error("NOT_UTF8", f"is not UTF-8 (byte {error.start})") from None
        except RecursionError:
            raise self.error("NOT_JSON", "is nested too deeply") from None
        except ValueError as error:
            raise self.error("NOT_JSON", f"is not JSON: {error}") from None
        return self.check(row)

    def check(self, row: Any) -> Row:
        if not isinstance(row, dict):
            raise self.error(
                "NOT_AN_OBJECT", f"is {type_of(row)}, not an object like {EXAMPLES[Kind.DOCUMENTS]}"
            )
        if self.kind == Kind.KIND_UNSPECIFIED:
            self.kind = self._decide(row)
        _CHECKS[self.kind](self, row)
        self._check_id(row)
        self.count += 1
        return row

    def encoded(self, row: Row) -> bytes:
        """The row that was checked last, as it is stored: one line of JSON."""
        try:
            return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except UnicodeEncodeError as error:
            found = f"has {error.object[error.start]!a}, half a character"
        except ValueError:
            found = "has a number that is too great"
        self.count -= 1
        raise self.error("NOT_JSON", found)

    def fitting(self, row: Row) -> bytes:
        """The same of a row, or of a part of it, that must fit a message."""
        raw = self.encoded(row)
        if len(raw) > GREATEST_LINE_BYTES:
            self.count -= 1
            raise self.error(
                "DOCUMENT_TOO_LONG" if self.kind == Kind.DOCUMENTS else "ROW_TOO_LONG",
                f"has {len(raw)} bytes; at most {GREATEST_LINE_BYTES} are allowed"
                + (f"; split {row['id']!r} and others like it" if self.kind == Kind.DOCUMENTS else ""),
                "text" if self.kind == Kind.DOCUMENTS else "",
            )
        return raw

    def _decide(self, row: Row) -> int:
        if "text" in row:
            return Kind.DOCUMENTS
        if "messages" in row:
            return Kind.PROMPTS if "parameters" in row else Kind.MESSAGES
        if row.keys() & {"finish_reason", "scores", "error"} and not row.keys() & {"prompt", "question"}:
            return Kind.ANSWERS
        if "completion" in row:
            return Kind.PROMPT_COMPLETION
        if "choices" in row or "question" in row or "answers" in row:
            return Kind.PROBES
        if "prompt" in row:
            return Kind.PROMPTS
        shapes = "; ".join(EXAMPLES.values())
        raise self.error("UNKNOWN_SHAPE", f"has the keys {sorted(row)}; a row looks like one of {shapes}")

    def _check_id(self, row: Row) -> None:
        if "id" not in row:
            if self.kind not in (Kind.DOCUMENTS, Kind.PROBES, Kind.PROMPTS):
                return
            row["id"] = f"row-{self.count + 1:06d}"
        self.claim(self.text(row, "id"))

    def claim(self, identity: str) -> None:
        """No other row may have this id."""
        if identity in self._ids:
            raise self.error("DUPLICATE_ID", f"has the id {identity!r}, which an earlier row has too", "id")
        self._ids.add(identity)

    def text(self, row: Row, field: str, path: str = "") -> str:
        """A string that is not blank."""
        path = path or field
        if field not in row:
            raise self.error("MISSING_FIELD", f"has no {path!r}; it looks like {EXAMPLES[self.kind]}", path)
        value = row[field]
        if not isinstance(value, str):
            raise self.error("WRONG_TYPE", f"{path!r} is {type_of(value)}, not a string", path)
        if not value.strip():
            raise self.error("EMPTY_FIELD", f"{path!r} is empty", path)
        return value

    def texts(self, row: Row, field: str, least: int) -> list[str]:
        values = row.get(field)
        if not isinstance(values, list) or len(values) < least:
            raise self.error("WRONG_TYPE", f"{field!r} must be a list of at least {least} strings", field)
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise self.error("WRONG_TYPE", f"'{field}[{index}]' is no text", f"{field}[{index}]")
        return values

    def messages(self, row: Row) -> list[Any]:
        messages = row.get("messages")
        if not isinstance(messages, list) or not messages:
            raise self.error("WRONG_TYPE", "'messages' must be a list of messages", "messages")
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if not isinstance(message, dict):
                raise self.error("WRONG_TYPE", f"'{path}' is {type_of(message)}, not an object", path)
            for field in ("role", "content"):
                self.text(message, field, f"{path}.{field}")
        return messages

    def error(self, reason: str, text: str, field: str = "") -> Exception:
        """About the row that is being checked; `field`: in it."""
        path = f"rows[{self.count}]" + (f".{field}" if field else "")
        return self.refused(reason, f"row {self.count + 1} {text}", path, self.count + 1)


def check_document(checker: RowChecker, row: Row) -> None:
    checker.text(row, "text")
    if "metadata" in row and not isinstance(row["metadata"], dict):
        raise checker.error(
            "WRONG_TYPE", f"'metadata' is {type_of(row['metadata'])}, not an object", "metadata"
        )


def check_pair(checker: RowChecker, row: Row) -> None:
    checker.text(row, "prompt")
    checker.text(row, "completion")


def check_probe(checker: RowChecker, row: Row) -> None:
    checker.text(row, "kind")
    if "question" in row:
        checker.text(row, "question")
        checker.texts(row, "answers", 1)
        return
    checker.text(row, "prompt")
    choices = checker.texts(row, "choices", 2)
    if len(set(choices)) < len(choices):
        raise checker.error("CHOICES_REPEAT", "has the same choice twice", "choices")
    if "answer" not in row:
        raise checker.error(
            "MISSING_FIELD", f"has no 'answer'; it looks like {EXAMPLES[Kind.PROBES]}", "answer"
        )
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    for answer in answers or [None]:
        if answer not in choices:
            raise checker.error(
                "ANSWER_NOT_A_CHOICE", f"has the answer {answer!r}, which is none of its choices", "answer"
            )


EXAMPLES = {
    Kind.DOCUMENTS: '{"id": "d1", "text": "..."}',
    Kind.MESSAGES: '{"messages": [{"role": "user", "content": "..."}]}',
    Kind.PROMPT_COMPLETION: '{"prompt": "...", "completion": "..."}',
    Kind.PROBES: '{"id": "p1", "kind": "...", "prompt": "...", "choices": ["...", "..."], "answer": "..."} '
    'or {"id": "p1", "kind": "list", "question": "...", "answers": ["..."]}',
    Kind.PROMPTS: '{"id": "p1", "prompt": "...", "parameters": {"max_tokens": 64}} or {"id": "p1", "messages": [...]}',
    Kind.ANSWERS: '{"id": "p1", "completion": "...", "finish_reason": "stop", "token_count": 3}, {"id": "p1", "scores": [...]} '
    'or {"id": "p1", "error": {"code": "...", "message": "..."}}',
}


_CHECKS = {
    Kind.DOCUMENTS: check_document,
    Kind.MESSAGES: RowChecker.messages,
    Kind.PROMPT_COMPLETION: check_pair,
    Kind.PROBES: check_probe,
    Kind.PROMPTS: bulk_row_rules.check_prompt,
    Kind.ANSWERS: bulk_row_rules.check_answer,
}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")
