"""Rows that go together in one request to the door. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingrain.v1 import inference_pb2 as pb
from services.inference.batches.rows import Answer, Asked, Form, answer_of, scored_row, written_row

CALL_ROWS = 16  # few, for a call holds its places at the engine until its last row is answered
CALL_BYTES = 2 << 20  # of what is asked
ANSWER_BYTES = 3 << 20  # of what is answered at most: a message takes 4 MiB


@dataclass(frozen=True)
class Target:
    """Who is asked, after virtual names were resolved."""

    parent: str
    model: str
    context: str


@dataclass(frozen=True)
class Call:
    """Rows of the same form."""

    form: Form
    rows: tuple[Asked, ...]

    def halves(self) -> "tuple[Call, Call]":
        middle = len(self.rows) // 2
        return Call(self.form, self.rows[:middle]), Call(self.form, self.rows[middle:])

    def without(self, index: int) -> "Call":
        return Call(self.form, self.rows[:index] + self.rows[index + 1 :])


def calls_of(rows: Sequence[Asked]) -> Iterator[Call]:
    """Every row in one call; forms in the order of their first rows."""
    by_form: dict[Form, list[Asked]] = {}
    for row in rows:
        by_form.setdefault(row.form, []).append(row)
    for form, alike in by_form.items():
        most = max(1, min(CALL_ROWS, ANSWER_BYTES // form.answer_bytes))
        together: list[Asked] = []
        size = 0
        for row in alike:
            row_bytes = size_of(row)
            if together and (len(together) == most or size + row_bytes > CALL_BYTES):
                yield Call(form, tuple(together))
                together, size = [], 0
            together.append(row)
            size += row_bytes
        yield Call(form, tuple(together))


def size_of(row: Asked) -> int:
    return len(row.content.encode()) if isinstance(row.content, str) else int(row.content.ByteSize())


def request_of(call: Call, target: Target) -> pb.GenerateRequest | pb.ScoreRequest:
    contents = [row.content for row in call.rows]
    named = {"parent": target.parent, "model": target.model, "context": target.context}
    if call.form.kind == "items":
        return pb.ScoreRequest(**named, items=contents, priority=pb.BULK)
    form = call.form
    return pb.GenerateRequest(
        **named,
        **{form.kind: contents},
        max_tokens=form.max_tokens,
        temperature=form.temperature,
        top_p=form.top_p,
        seed=form.seed,
        stop=form.stop,
        logprobs=form.logprobs,
        top_logprobs=form.top_logprobs,
        json_schema=form.json_schema,
        priority=pb.BULK,
    )


def answers_of(call: Call, response: pb.GenerateResponse | pb.ScoreResponse) -> list[Answer]:
    if isinstance(response, pb.ScoreResponse):
        pairs = zip(call.rows, response.items, strict=True)
        return [answer_of(row.number, scored_row(row, scores.choices)) for row, scores in pairs]
    written = zip(call.rows, response.generations, strict=True)
    return [answer_of(row.number, written_row(row, generation)) for row, generation in written]
