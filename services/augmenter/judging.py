"""The gates that ask a model: whether a statement is likelier than its contradiction, and whether a judge finds it faithful.

What a model answered is kept like its outputs: the same is never asked twice.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingrain.v1 import inference_pb2, trainer_pb2
from servicekit.errors import WrongState
from servicekit.worker import Task
from services.augmenter.derivation import Statement
from services.augmenter.gates import claims
from services.augmenter.gates.contradiction import contradiction
from services.augmenter.generating import CALL_S, Generator, text_digest
from services.augmenter.outputs import InOrder, Output, Outputs, digest_of
from services.augmenter.planning import MESSAGE_BYTES, Planned
from services.augmenter.sights import Sight
from services.augmenter.spec import Gates

CONTRADICTION_FORM = "contradiction/1"  # raised when the same question would be put another way
Answer = tuple[str, list[float]]  # what is stored, and its share of what the call took


@dataclass(frozen=True)
class Question:
    """About one statement: what is read before it (a group's context, or a prompt), and what is asked."""

    item: Planned
    group: str | None
    prompt: str
    choices: tuple[str, ...] = ()
    depends_on: tuple[Any, ...] = ()

    @property
    def size_bytes(self) -> int:
        return len(self.prompt.encode()) + sum(len(choice.encode()) for choice in self.choices)


@dataclass(frozen=True)
class Verdicts:
    """Of one statement. `margin`: see `Judging.margins`. `judge`: as in `claims`, empty where nobody judged."""

    margin: float | None = None
    judge: str = ""

    @property
    def reason_to_drop(self) -> str:
        if self.margin is not None and self.margin < 0:
            return "unlikely"
        return "unfaithful" if self.judge in (claims.CONTRADICTED, claims.NOT_MENTIONED) else ""

    @property
    def shown(self) -> dict[str, Any]:
        """As a row's provenance has them."""
        found: dict[str, Any] = {}
        if self.margin is not None:
            found["contradiction"] = {"margin": self.margin}
        if self.judge:
            found["judge"] = self.judge
        return found


@dataclass
class Judging:
    """`writer`: of the model that writes, which also says how likely its statements are. `judge`: of the other one. `sight`: the
    documents that a prompt had in sight, so that answers about what was written to it go with them. `batch_size`: of a call to a model."""

    outputs: Outputs
    task: Task
    writer: Generator
    judge: Generator | None
    sight: Callable[[Planned], Sight | None]
    batch_size: Callable[[trainer_pb2.Model], int]
    calls: int
    # Of every answer, by digest: of the one who writes, and of the judge.
    weighing_usages: dict[str, tuple[float, ...]] = field(default_factory=dict)
    judge_usages: dict[str, tuple[float, ...]] = field(default_factory=dict)
    uncontradicted_count: int = 0
    unread_count: int = 0

    def __post_init__(self) -> None:
        self._in_order = InOrder(self.outputs, self.task)

    async def judged(self, statements: Sequence[Statement], gates: Gates) -> list[Verdicts]:
        """By the gates that are on, the cheaper first: what it drops is not judged. What a rule made is not asked about."""
        found = [Verdicts() for _ in statements]
        left = [n for n, statement in enumerate(statements) if statement.item.text is None]
        if gates.likelier_than_contradiction:
            margins = await self.margins([statements[n] for n in left])
            for n, margin in zip(left, margins, strict=True):
                found[n] = Verdicts(margin)
            left = [n for n in left if not found[n].reason_to_drop]
        if gates.judge:
            verdicts = await self.verdicts([statements[n] for n in left])
            for n, verdict in zip(left, verdicts, strict=True):
                found[n] = replace(found[n], judge=verdict)
        return found

    async def margins(self, statements: Sequence[Statement]) -> list[float | None]:
        """Of each statement, read after its documents: by how many nats it is likelier than its contradiction. None where
        no contradiction could be formed; these are counted."""
        contrary = [contradiction(statement.text) for statement in statements]
        self.uncontradicted_count += contrary.count(None)
        asked = [n for n, other in enumerate(contrary) if other is not None]
        questions = [self._choice(statements[n], contrary[n] or "") for n in asked]
        answers = await self._answers(questions, self.writer, self._score, "weighing", self.weighing_usages)
        found: list[float | None] = [None] * len(statements)
        for n, answer in zip(asked, answers, strict=True):
            itself, other = json.loads(answer)
            found[n] = itself - other
        return found

    async def verdicts(self, statements: Sequence[Statement]) -> list[str]:
        """Of each statement the judge's; answers that cannot be read are counted."""
        questions = [self._claims(statement) for statement in statements]
        if not questions:
            return []
        answers = await self._answers(questions, self._judge(), self._ask, "judging", self.judge_usages)
        found = [claims.verdict_of(answer) for answer in answers]
        self.unread_count += found.count(claims.UNREADABLE)
        return found

    def _choice(self, statement: Statement, contrary: str) -> Question:
        writer = self.writer
        group, before = read_before(statement)
        choices = (statement.text, contrary)
        read = before if group is None else text_digest(writer.texts(group))
        depends_on = (CONTRADICTION_FORM, writer.model.sha256, group is None, read, choices)
        return Question(statement.item, group, before, choices, depends_on)

    def _claims(self, statement: Statement) -> Question:
        judge = self._judge()
        group, before = read_before(statement)
        texts = [before.rstrip("\n")] if group is None else []
        prompt = claims.prompt_of(statement.text, texts).lstrip("\n")
        read = "" if group is None else text_digest(judge.texts(group))
        return Question(statement.item, group, prompt, (), (claims.VERSION, judge.model.sha256, read, prompt))

    async def _answers(
        self,
        questions: Sequence[Question],
        generator: Generator,
        ask: Callable[[str | None, Sequence[Question]], Awaitable[list[Answer]]],
        stage: str,
        usages: dict[str, tuple[float, ...]],
    ) -> list[str]:
        """In the order of the questions; each once, those of one context together. Where a call fails no further one is begun; what is
        under way is waited for and kept, and then the failure is raised. `usages` gets what each took."""
        digests = [digest_of(*question.depends_on) for question in questions]
        known = await self.outputs.find(digests)
        missing = {d: q for d, q in zip(digests, questions, strict=True) if d not in known}
        for digest, question in zip(digests, questions, strict=True):
            if question.group is not None and digest in known and known[digest].made_for == self.task.target:
                generator.counted.add(question.group)
        done = len(questions) - len(missing)
        await self.task.progress(stage, done, len(questions), "statements")
        gate = asyncio.Semaphore(self.calls)
        failing = False

        async def answer(batch: list[tuple[str, Question]]) -> None:
            nonlocal failing
            async with gate:
                if failing:
                    return
                try:
                    await answered(batch)
                except Exception:
                    failing = generator.patience.ended = True
                    raise

        async def answered(batch: list[tuple[str, Question]]) -> None:
            nonlocal done
            group = batch[0][1].group
            answers = await ask(group, [question for _, question in batch])
            written = dict(zip([digest for digest, _ in batch], answers, strict=True))
            seen = {digest: self.sight(question.item) for digest, question in batch}
            context = None if group is None else f"{generator.model.name} {group}"
            await self._in_order.keep(context, written, seen)
            for digest, (text, usage) in written.items():
                known[digest] = Output(text, tuple(usage), self.task.target)
            done += len(batch)
            await self.task.progress(stage, done, len(questions), "statements")

        size = self.batch_size(generator.model)
        work = [asyncio.create_task(answer(batch)) for batch in batches(missing, size)]
        try:
            ended = await asyncio.gather(*work, return_exceptions=True)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        if failed := [error for error in ended if error is not None]:
            raise failed[0]
        usages |= {digest: known[digest].usage for digest in digests}
        return [known[digest].text for digest in digests]

    async def _score(self, group: str | None, questions: Sequence[Question]) -> list[Answer]:
        writer = self.writer
        request = inference_pb2.ScoreRequest(
            model=writer.model.name,
            context="" if group is None else await writer.context(group),
            items=[inference_pb2.ScoreItem(prompt=q.prompt, choices=q.choices) for q in questions],
            priority=writer.priority,
        )
        answer = await writer.patience.ask(
            lambda: writer.client.stubs.inference.Score(request, timeout=CALL_S)
        )
        usage = writer.shares(group, answer.usage, len(questions))
        return [
            (json.dumps([choice.sum_logprob for choice in scores.choices]), usage) for scores in answer.items
        ]

    async def _ask(self, group: str | None, questions: Sequence[Question]) -> list[Answer]:
        judge = self._judge()
        request = inference_pb2.GenerateRequest(
            model=judge.model.name,
            context="" if group is None else await judge.context(group),
            prompts=[question.prompt for question in questions],
            max_tokens=claims.MAX_TOKENS,
            json_schema=claims.SCHEMA,
            priority=judge.priority,
        )
        answer = await judge.generate(request)
        usage = judge.shares(group, answer.usage, len(questions))
        return [(generation.text, usage) for generation in answer.generations]

    def _judge(self) -> Generator:
        assert self.judge is not None, "a judge is asked where the gates name one"
        return self.judge


def read_before(statement: Statement) -> tuple[str | None, str]:
    """The group whose context holds the documents, else they themselves as the beginning of a prompt."""
    if statement.item.ask.context_group is not None:
        return statement.item.ask.context_group, ""
    return None, "\n".join(document.text for document in statement.read) + "\n\n"


def batches(missing: dict[str, Question], size: int) -> list[list[tuple[str, Question]]]:
    """Questions of one context, at most `size`, that fit a message."""
    by_group: dict[str | None, list[tuple[str, Question]]] = {}
    for digest, question in missing.items():
        by_group.setdefault(question.group, []).append((digest, question))
    found = []
    for alike in by_group.values():
        batch: list[tuple[str, Question]] = []
        batch_bytes = 0
        for digest, question in alike:
            if batch and (len(batch) == size or batch_bytes + question.size_bytes > MESSAGE_BYTES):
                found.append(batch)
                batch, batch_bytes = [], 0
            batch.append((digest, question))
            batch_bytes += question.size_bytes
        found.append(batch)
    return found


def of_model(generator: Generator, model: trainer_pb2.Model) -> Generator:
    """The same documents, read by another model."""
    given = type(generator.given)()
    given.CopyFrom(generator.given)
    given.model = model.name
    return replace(
        generator,
        given=given,
        model=model,
        readings={},
        counted=set(),
        _contexts={},
        _making={},
        _keeps_to_schema=True,
    )


def require_logprobs(model: trainer_pb2.Model) -> None:
    if model.HasField("endpoint"):
        raise WrongState(
            "MODEL_GIVES_NO_LOGPROBS",
            f"{model.name} is behind an endpoint and does not say how likely a statement is, which "
            "gates.likelier_than_contradiction asks; leave that gate out, or let another model write",
        )
