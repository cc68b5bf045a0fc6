"""What a row of the fake may be: refused with the same reasons and fields as by the platform."""

import json
from collections.abc import Iterator
from typing import Any

from ingrain.testing.store import Refused
from ingrain.v1.datasets_pb2 import Dataset

Row = dict[str, Any]
MOST_BYTES = 3 << 20
_WITH_IDS = (Dataset.DOCUMENTS, Dataset.PROBES, Dataset.PROMPTS)  # made up where a row has none
_ROLES = ("system", "developer", "user", "assistant")
_RANGES: dict[str, tuple[Any, int, int]] = {  # parameters of a prompt: type, least and greatest
    "max_tokens": (int, 1, 65536),
    "temperature": ((int, float), 0, 2),
    "top_p": ((int, float), 0, 1),
    "seed": (int, -(1 << 63), (1 << 63) - 1),
    "top_logprobs": (int, 0, 64),
}


class Rows:
    """Checks rows in their order. `kind`: what they are, decided from the first where it is unspecified."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self._count = 0
        self._ids: set[str] = set()

    def read(self, content: bytes) -> list[str]:
        """The rows of JSONL as they are stored, one line each."""
        lines = [line for line in content.split(b"\n") if line.strip()]
        if not lines:
            raise Refused("INVALID_ARGUMENT", "EMPTY_DATASET", "the data set has no rows", "rows")
        return [self._stored(line) for line in lines]

    def _stored(self, line: bytes) -> str:
        if len(line) > MOST_BYTES:
            raise self._wrong("ROW_TOO_LONG", f"has {len(line)} bytes; at most {MOST_BYTES} are allowed")
        try:
            row = json.loads(line.decode(), parse_constant=_no_constant)
        except UnicodeDecodeError:
            raise self._wrong("NOT_UTF8", "is not UTF-8") from None
        except (ValueError, RecursionError) as error:
            raise self._wrong("NOT_JSON", f"is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise self._wrong("NOT_AN_OBJECT", "is no object")
        self.kind = self.kind or self._decided(row)
        _CHECKS[self.kind](self, row)
        self._check_id(row)
        self._count += 1
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))

    def _decided(self, row: Row) -> int:
        if "text" in row:
            return Dataset.DOCUMENTS
        if "messages" in row:
            return Dataset.PROMPTS if "parameters" in row else Dataset.MESSAGES
        if row.keys() & {"finish_reason", "scores", "error"} and not row.keys() & {"prompt", "question"}:
            return Dataset.ANSWERS
        if "completion" in row:
            return Dataset.PROMPT_COMPLETION
        if row.keys() & {"choices", "question", "answers"}:
            return Dataset.PROBES
        if "prompt" in row:
            return Dataset.PROMPTS
        raise self._wrong("UNKNOWN_SHAPE", f"has the keys {sorted(row)}, of no kind of row")

    def _check_id(self, row: Row) -> None:
        if "id" not in row:
            if self.kind not in _WITH_IDS:
                return
            row["id"] = f"row-{self._count + 1:06d}"
        if self._text(row, "id") in self._ids:
            raise self._wrong("DUPLICATE_ID", f"has the id {row['id']!r}, which an earlier row has too", "id")
        self._ids.add(row["id"])

    def _text(self, row: Row, field: str, path: str = "") -> str:
        path = path or field
        if field not in row:
            raise self._wrong("MISSING_FIELD", f"has no {path!r}", path)
        if not isinstance(row[field], str):
            raise self._wrong("WRONG_TYPE", f"{path!r} is no string", path)
        if not row[field].strip():
            raise self._wrong("EMPTY_FIELD", f"{path!r} is empty", path)
        return str(row[field])

    def _texts(self, row: Row, field: str, least: int) -> list[str]:
        values = row.get(field)
        if not isinstance(values, list) or len(values) < least:
            raise self._wrong("WRONG_TYPE", f"{field!r} must be a list of at least {least} strings", field)
        for index, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise self._wrong("WRONG_TYPE", f"'{field}[{index}]' is no text", f"{field}[{index}]")
        return values

    def _document(self, row: Row) -> None:
        self._text(row, "text")
        if not isinstance(row.get("metadata", {}), dict):
            raise self._wrong("WRONG_TYPE", "'metadata' is no object", "metadata")

    def _messages(self, row: Row) -> Iterator[tuple[str, Row]]:
        messages = row.get("messages")
        if not isinstance(messages, list) or not messages:
            raise self._wrong("WRONG_TYPE", "'messages' must be a list of messages", "messages")
        for index, message in enumerate(messages):
            path = f"messages[{index}]"
            if not isinstance(message, dict):
                raise self._wrong("WRONG_TYPE", f"'{path}' is no object", path)
            for field in ("role", "content"):
                self._text(message, field, f"{path}.{field}")
            yield path, message

    def _conversation(self, row: Row) -> None:
        list(self._messages(row))

    def _pair(self, row: Row) -> None:
        self._text(row, "prompt")
        self._text(row, "completion")

    def _probe(self, row: Row) -> None:
        self._text(row, "kind")
        if "question" in row:
            self._text(row, "question")
            self._texts(row, "answers", 1)
            return
        self._text(row, "prompt")
        choices = self._texts(row, "choices", 2)
        if len(set(choices)) < len(choices):
            raise self._wrong("CHOICES_REPEAT", "has the same choice twice", "choices")
        if "answer" not in row:
            raise self._wrong("MISSING_FIELD", "has no 'answer'", "answer")
        right = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
        if any(answer not in choices for answer in right or [None]):
            message = f"has the answer {row['answer']!r}, which is none of its choices"
            raise self._wrong("ANSWER_NOT_A_CHOICE", message, "answer")

    def _prompt(self, row: Row) -> None:
        if "messages" in row and "prompt" in row:
            raise self._wrong("TWO_PROMPTS", "has both 'prompt' and 'messages'", "messages")
        for path, message in self._messages(row) if "messages" in row else ():
            if message["role"] not in _ROLES:
                raise self._wrong("UNKNOWN_ROLE", f"'{path}.role' is {message['role']!r}", f"{path}.role")
        if "messages" not in row:
            self._text(row, "prompt")
        parameters = row.get("parameters", {})
        if not isinstance(parameters, dict):
            raise self._wrong("WRONG_TYPE", "'parameters' is no object", "parameters")
        for name, value in parameters.items():
            if not _fits(name, value):
                path = f"parameters.{name}"
                raise self._wrong("BAD_PARAMETER", f"'{path}' may not be {value!r}", path)

    def _answer(self, row: Row) -> None:
        self._text(row, "id")
        if "error" not in row and "scores" not in row and not isinstance(row.get("completion"), str):
            raise self._wrong("MISSING_FIELD", "has no text 'completion'", "completion")

    def _wrong(self, reason: str, text: str, field: str = "") -> Refused:
        path = f"rows[{self._count}]" + (f".{field}" if field else "")
        number = self._count + 1
        return Refused("INVALID_ARGUMENT", reason, f"row {number} {text}", path, row=number)


_CHECKS = {
    Dataset.DOCUMENTS: Rows._document,
    Dataset.MESSAGES: Rows._conversation,
    Dataset.PROMPT_COMPLETION: Rows._pair,
    Dataset.PROBES: Rows._probe,
    Dataset.PROMPTS: Rows._prompt,
    Dataset.ANSWERS: Rows._answer,
}


def _fits(name: str, value: Any) -> bool:
    if name in _RANGES:
        kind, least, most = _RANGES[name]
        return isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most
    if name == "stop":
        return isinstance(value, list) and len(value) <= 8 and all(isinstance(one, str) for one in value)
    return (name == "logprobs" and isinstance(value, bool)) or (
        name == "json_schema" and isinstance(value, (str, dict))
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")
