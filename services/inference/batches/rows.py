"""A row of prompts or probes -> what is asked; what was answered -> a row. Pure."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ingrain.v1 import batches_pb2
from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Invalid

DEFAULT_MAX_TOKENS = 64
QUESTION = "Question: {question}\nAnswer:"  # as everywhere else; see docs/architecture.md
GREATEST_ROW_BYTES = 3 << 20  # what a dataset takes
# Bytes in a message: of a token of text, and of a log-probability with its token.
TOKEN_BYTES, LOGPROB_BYTES = 8, 32


@dataclass(frozen=True)
class Form:
    """Rows of the same form go together in a call. `alone`: the row's number where its answer is drawn, for what is
    drawn must not depend on who is beside it."""

    kind: str  # field of the request: prompts, inputs or items
    max_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int = 0
    json_schema: str = ""
    alone: int | None = None

    @property
    def answer_bytes(self) -> int:
        """The longest answer in a message."""
        each = TOKEN_BYTES + (LOGPROB_BYTES * (1 + self.top_logprobs) if self.logprobs else 0)
        return max(64, self.max_tokens * each)


@dataclass(frozen=True)
class Asked:
    """Row `number` (from 0); `content` is an element of the request's field `form.kind`."""

    number: int
    id: str
    form: Form
    content: Any


def asked_of(number: int, row: dict[str, Any], batch: batches_pb2.Batch) -> Asked:
    """Raises Invalid where the row cannot be asked."""
    row_id = id_of(number, row)
    if row.get("choices"):
        item = _built(pb.ScoreItem, prompt=row.get("prompt", ""), choices=row["choices"])
        return Asked(number, row_id, Form("items"), item)
    given = row.get("parameters") or {}
    temperature = float(given.get("temperature", batch.temperature))
    drawn = temperature > 0
    schema = given.get("json_schema", "")
    form = Form(
        kind="inputs" if "messages" in row else "prompts",
        max_tokens=given.get("max_tokens") or batch.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=temperature,
        top_p=float(given.get("top_p", 0.0)) if drawn else 0.0,
        seed=given.get("seed", seed_of(batch.seed, row_id)) if drawn else 0,
        stop=tuple(given.get("stop", batch.stop)),
        logprobs=bool(given.get("logprobs", given.get("top_logprobs", 0) > 0)),
        top_logprobs=given.get("top_logprobs", 0),
        json_schema=schema if isinstance(schema, str) else json.dumps(schema),
        alone=number if drawn else None,
    )
    return Asked(number, row_id, form, _content_of(row))


def id_of(number: int, row: dict[str, Any]) -> str:
    return str(row.get("id", f"row-{number + 1:06d}"))


def seed_of(seed: int, row_id: str) -> int:
    """Of the batch's seed and the row's id: neither its neighbours nor where shards are cut change what is drawn."""
    return int.from_bytes(hashlib.sha256(f"{seed} {row_id}".encode()).digest()[:8], "big") >> 1


def _content_of(row: dict[str, Any]) -> Any:
    if "messages" in row:
        messages = [
            _built(pb.ChatMessage, role=message["role"], content=message["content"])
            for message in row["messages"]
        ]
        return pb.Input(chat=pb.Chat(messages=messages))
    if "question" in row:
        return QUESTION.format(question=row["question"])
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Invalid("NOTHING_ASKED", "the row has neither a prompt, nor messages, nor a question")
    return prompt


def _built(kind: Any, **fields: Any) -> Any:
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        raise Invalid("BAD_ROW", f"the row cannot be asked: {error}") from None


def written_row(asked: Asked, generation: pb.Generation) -> dict[str, Any]:
    reason = pb.Generation.FinishReason.Name(generation.finish_reason).lower()
    row: dict[str, Any] = {
        "id": asked.id,
        "completion": generation.text,
        "finish_reason": reason,
        "token_count": generation.token_count,
    }
    if generation.prompt_token_count:
        row["prompt_token_count"] = generation.prompt_token_count
    if asked.form.logprobs:
        row["tokens"] = [
            _token(token) | {"top": [_token(top) for top in token.top]} for token in generation.tokens
        ]
    return row


def _token(token: pb.TokenLogprob | pb.TopLogprob) -> dict[str, Any]:
    """A token that is a part of a character shows as U+FFFD; its id is exact."""
    logprob = token.logprob if math.isfinite(token.logprob) else None
    return {"id": token.id, "token": token.token.decode(errors="replace"), "logprob": logprob}


def scored_row(asked: Asked, scores: Iterable[pb.ChoiceScore]) -> dict[str, Any]:
    return {
        "id": asked.id,
        "scores": [
            {
                "sum_logprob": score.sum_logprob,
                "mean_logprob": score.mean_logprob,
                "token_count": score.token_count,
            }
            for score in scores
        ],
    }


def error_row(row_id: str, code: str, message: str) -> dict[str, Any]:
    return {"id": row_id, "error": {"code": code, "message": message}}


@dataclass(frozen=True)
class Answer:
    """A line of the output, with its newline."""

    number: int
    line: bytes
    is_error: bool


def answer_of(number: int, row: dict[str, Any]) -> Answer:
    """What cannot be kept as a row of a dataset becomes an error."""
    try:
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return _refused(number, row, "NOT_A_NUMBER", "the model gave a number that is none")
    if len(line) > GREATEST_ROW_BYTES:
        return _refused(
            number,
            row,
            "ANSWER_TOO_BIG",
            f"the answer has {len(line)} bytes and a row takes {GREATEST_ROW_BYTES}; ask for fewer tokens or top_logprobs",
        )
    return Answer(number, line + b"\n", "error" in row)


def _refused(number: int, row: dict[str, Any], code: str, message: str) -> Answer:
    return answer_of(number, error_row(row["id"], code, message))
