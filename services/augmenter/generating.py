"""Batches of planned prompts -> what the model writes to them, by calls to inference that wait while it is full or away."""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from ingrain import AsyncClient, errors
from ingrain.v1 import augmenter_pb2, common_pb2, inference_pb2, trainer_pb2
from servicekit.contexts import ensure_context
from servicekit.errors import Invalid
from servicekit.patience import Patience, passes
from services.augmenter.parsing import SCHEMA
from services.augmenter.planning import Planned, of_document
from services.augmenter.spec import Spec
from services.augmenter.strategies import Document

CALL_S = 1800.0
GREATEST_PROMPT_BYTES = 1 << 20  # what inference takes


@dataclass(frozen=True)
class Written:
    """A text, its own tokens, and its share of what its call took."""

    text: str
    token_count: int
    usage: list[float]


@dataclass
class Generator:
    """What the prompts of one derivation are asked with. Contexts are made as they are needed, each once.

    `read_from` gives the name of the dataset that contexts are made of. `readings`: what reading the documents of a group
    took, of contexts that were made for this derivation, whose operation is from `since_s`; `counted`: groups whose reading is in
    outputs that are kept.
    """

    client: AsyncClient
    given: augmenter_pb2.AugmentationSpec
    spec: Spec
    model: trainer_pb2.Model
    documents: Sequence[Document]
    read_from: Callable[[], Awaitable[str]]
    patience: Patience = field(default_factory=Patience)
    priority: int = inference_pb2.BULK
    since_s: float = math.inf
    readings: dict[str, list[float]] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)
    _contexts: dict[str, str] = field(default_factory=dict)
    _making: dict[str, asyncio.Lock] = field(default_factory=dict)
    _keeps_to_schema: bool = True  # until the model's server refuses one

    async def write(self, batch: Sequence[Planned]) -> list[Written]:
        """Of prompts that share a context and a sample's number. What is wrong with one is said of its document."""
        for item in batch:
            require_size(item)
        group = batch[0].ask.context_group
        request = inference_pb2.GenerateRequest(
            model=self.given.model,
            context="" if group is None else await self.context(group),
            prompts=[item.ask.prompt for item in batch],
            max_tokens=self.spec.max_tokens,
            temperature=self.spec.temperature,
            seed=(self.spec.seed * 1_000_003 + batch[0].sample) % (1 << 63),
            json_schema=SCHEMA if batch[0].ask.structured else "",
            priority=self.priority,
        )
        try:
            answer = await self.generate(request)
        except errors.Invalid as error:
            raise of_document(placed(error, batch), batch) from error
        usage = self.shares(group, answer.usage, len(batch))
        return [Written(generation.text, generation.token_count, usage) for generation in answer.generations]

    async def generate(self, request: inference_pb2.GenerateRequest) -> inference_pb2.GenerateResponse:
        """Without a schema where the model cannot be held to one: what it writes is repaired, or asked for again."""
        if not self._keeps_to_schema:
            request.json_schema = ""
        try:
            return await self.patience.ask(
                lambda: self.client.stubs.inference.Generate(request, timeout=CALL_S), in_the_same_size
            )
        except errors.Invalid as error:
            if not request.json_schema or error.reason not in ("BAD_SCHEMA", "ENDPOINT_REFUSED"):
                raise
        self._keeps_to_schema = False
        return await self.generate(request)

    def shares(self, group: str | None, usage: inference_pb2.Usage, count: int) -> list[float]:
        """Of each of `count` prompts of a call. What reading the group's context took is a part of what the first ones took."""
        found = usage_of(usage)
        reading = None if group is None else self.readings.pop(group, None)
        if reading and group not in self.counted:
            self.counted.add(group or "")
            found = [part + more for part, more in zip(found, reading, strict=True)]
        return [part / count for part in found]

    def wanted_context(self, group: str, dataset: str) -> tuple[inference_pb2.Context, str]:
        """The context of a group, and the digest of what it says."""
        selection = common_pb2.RowSelection(distinct_key=self.spec.distinct_key)
        if self.spec.group_key:
            selection.key, selection.value = self.spec.group_key, group
        wanted = inference_pb2.Context(model=self.given.model, dataset=dataset, selection=selection)
        return wanted, f"{self.model.sha256} {text_digest(self.texts(group))}"

    def texts(self, group: str) -> list[str]:
        """What is in the context of the group."""
        return [document.text for document in self.documents if document.group == group]

    async def context(self, group: str) -> str:
        async with self._making.setdefault(group, asyncio.Lock()):
            if group not in self._contexts:
                wanted, content = self.wanted_context(group, await self.read_from())
                name = await self.patience.ask(
                    lambda: ensure_context(self.client, wanted, "augment", content)
                )
                await self._note_reading(group, name)
                self._contexts[group] = name
        return self._contexts[group]

    async def _note_reading(self, group: str, name: str) -> None:
        request = inference_pb2.GetContextRequest(name=name)
        context = await self.patience.ask(lambda: self.client.stubs.inference.GetContext(request))
        if context.create_time.ToNanoseconds() / 1e9 >= self.since_s:
            cost = context.cost
            tokens = [cost.prompt_token_count, cost.cached_token_count, cost.generated_token_count]
            self.readings[group] = [*tokens, cost.flops, cost.compute_seconds]


def require_size(item: Planned) -> None:
    """Refused before it is sent: a message that is too big says nothing of the prompt that made it so."""
    size_bytes = len(item.ask.prompt.encode())
    if size_bytes > GREATEST_PROMPT_BYTES:
        document = item.ask.documents[0].id
        raise Invalid(
            "PROMPT_TOO_BIG",
            f"{item.strategy} of document {document!r}: the prompt has {size_bytes} bytes and at most {GREATEST_PROMPT_BYTES} are "
            "taken; split the document",
            field=f"documents[{document!r}]",
            size_bytes=size_bytes,
        )


def in_the_same_size(error: Exception) -> bool:
    """Whether the same call may go well later; one that took too long would take as long again."""
    return passes(error) and not isinstance(error, errors.DeadlineExceeded)


def may_go_well_in_halves(error: Exception) -> bool:
    """Whether fewer prompts at once may go well, or tell which of them does not."""
    reason = getattr(error, "reason", "")
    return isinstance(error, errors.DeadlineExceeded) or reason in ("RESPONSE_TOO_BIG", "ENDPOINT_REFUSED")


def placed(error: errors.Invalid, batch: Sequence[Planned]) -> errors.Invalid:
    """What is wrong with a call of one prompt is wrong with that prompt."""
    if len(batch) == 1 and may_go_well_in_halves(error):
        error.field_violations = (errors.FieldViolation("prompts[0]", error.message),)
    return error


def text_digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def usage_of(usage: inference_pb2.Usage) -> list[float]:
    """New, cached and written tokens, FLOPs, seconds."""
    return [
        usage.prompt_token_count - usage.cached_token_count,
        usage.cached_token_count,
        usage.generated_token_count,
        usage.flops,
        usage.compute_seconds,
    ]


def cost_of(usages: Sequence[Sequence[float]]) -> common_pb2.Cost:
    """Tokens rounded to whole ones."""
    new, cached, written, flops, seconds = (
        (sum(part) for part in zip(*usages, strict=True)) if usages else [0.0] * 5
    )
    return common_pb2.Cost(
        prompt_token_count=round(new),
        cached_token_count=round(cached),
        generated_token_count=round(written),
        flops=flops,
        compute_seconds=seconds,
    )
