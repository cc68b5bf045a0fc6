"""The operation: documents in waves, each written about and checked, until every kind has enough; then the upload.

What was written and what the checker said is kept like answers of evaluations, so that an attempt after a crash asks
nothing twice.
"""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2, datasets_pb2, inference_pb2, trainer_pb2
from ingrain.v1 import evaluator_pb2 as pb
from servicekit.errors import AlreadyExists, Invalid, NotFound
from servicekit.peers import gateway_client
from servicekit.resources import Resources
from servicekit.storage import Storage
from servicekit.worker import Task
from services.evaluator.answers import Answers, Entry
from services.evaluator.asking import CALL_S, usage_of
from services.evaluator.inputs import DOCUMENTS, active_model, shape_of, usable
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.texts import MESSAGE_BYTES, count_tokens
from services.evaluator.writing import checking, cloze, question
from services.evaluator.writing.drafts import DUPLICATE, Draft, Dropped
from services.evaluator.writing.probesets import dataset_of
from services.evaluator.writing.prompts import filled, template
from services.evaluator.writing.rows import labels_of, row_of
from services.evaluator.writing.sources import Document, Pool, normalized, pools_of
from services.evaluator.writing.spec import Inputs, resolve

WAVE = 16  # documents that are written about and checked together
READ_TOGETHER = 3  # documents in sight of a kind that takes several
READ_AT_MOST = READ_TOGETHER + cloze.WRONG_CHOICES  # when it is checked
PER_DOCUMENT = 3  # statements of a document that are taken for a kind
CHECKED_TOGETHER = 192  # items of a message, with all their choices
MOST_TOKENS = {"cloze": 64, "question": 256}
TOGETHER = ("cross_document", "list")


async def inputs(client: AsyncClient, given: pb.ProbeSpec) -> Inputs:
    """Raises Invalid for what cannot be: a checker must compare choices."""
    dataset = await usable(client, given.dataset, (DOCUMENTS,), "spec.dataset")
    writer = await active_model(client, given.model)
    checker = await active_model(client, given.checker) if given.checker else writer
    windows = [(await shape_of(client, model)).context_window for model in (writer, checker)]
    if checker.HasField("endpoint"):
        raise Invalid(
            "NO_LOG_LIKELIHOODS",
            f"{checker.name} is behind an endpoint that gives text and no log-likelihoods, by which probes are checked; "
            "name another model as `checker`",
            field="spec.checker",
        )
    return Inputs(dataset, writer, checker, min(windows), resolve(given, writer))


async def read_pools(client: AsyncClient, given: pb.ProbeSpec) -> dict[str, Pool]:
    return pools_of([row async for row in client.datasets.rows(given.dataset)], given)


async def readable(client: AsyncClient, found: Inputs, pools: dict[str, Pool]) -> dict[str, Pool]:
    """Without documents of which not as many as are ever read together fit the models' window."""
    documents = [document for pool in pools.values() for document in pool.documents]
    counts = await count_tokens(client, found.checker.name, [document.text for document in documents])
    most = (found.window - 2 * MOST_TOKENS[found.spec.style]) // READ_AT_MOST
    fitting = {id(d) for d, count in zip(documents, counts, strict=True) if count <= most}
    return {
        group: Pool(tuple(document for document in pool.documents if id(document) in fitting))
        for group, pool in pools.items()
    }


class Writing:
    """`resources`: the probe sets in the making."""

    def __init__(
        self, settings: EvaluatorSettings, storage: Storage, rows: Resources[datasets_pb2.Dataset]
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.resources = rows

    async def refuse_taken(self, client: AsyncClient, name: str) -> None:
        """Now, and not when everything is written: somebody else's dataset has the name."""
        with suppress(NotFound):  # our own: `request_id` decides
            await self.resources.get(name)
            return
        with suppress(errors.NotFound):
            taken = (await client.datasets.get(dataset_of(name))).name
            raise AlreadyExists("NAME_TAKEN", f"{taken} exists already; choose another id", resource=taken)

    async def generate(self, task: Task, request: pb.GenerateProbesRequest) -> datasets_pb2.Dataset:
        client = gateway_client(self.settings, task.project)
        await task.progress("reading")
        found = await inputs(client, request.spec)
        given = await read_pools(client, request.spec)
        pools = await readable(client, found, given)
        run = Run(client, found, pools, Answers(self.storage, task.project))
        too_long = sum(len(given[group].documents) - len(pools[group].documents) for group in given)
        if too_long:
            run.dropped["document_too_long"] = too_long
        for kind in found.spec.kinds:
            for wave in waves(run.order(kind)):
                done = len(run.kept_of(kind))
                await task.progress(f"writing {kind}", done, found.spec.count_per_kind, "probes")
                if done >= found.spec.count_per_kind:
                    break
                await run.write(kind, wave)
        rows = [row_of(draft, found, number) for number, draft in enumerate(run.kept())]
        if not rows:
            counts = ", ".join(f"{count} {reason}" for reason, count in run.dropped.items()) or "no documents"
            raise Invalid(
                "NOTHING_KEPT",
                f"no probe came through the checks ({counts}); try another model or more documents",
                field="spec",
            )
        await task.progress("uploading", len(rows), len(rows), "probes")
        return await client.datasets.upload(
            rows,
            id=task.target.rpartition("/")[2],
            kind="probes",
            display_name=f"probes about {found.dataset.name.rpartition('/')[2]}"[:200],
            labels=labels_of(found, run.kept(), run.dropped, run.cost),
            request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, task.target)),
        )


@dataclass
class Run:
    """What is kept so far, and why the rest is not."""

    client: AsyncClient
    found: Inputs
    pools: dict[str, Pool]
    answers: Answers
    dropped: Counter[str] = field(default_factory=Counter)
    cost: common_pb2.Cost = field(default_factory=common_pb2.Cost)
    _kept: dict[str, list[Draft]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def kept_of(self, kind: str) -> list[Draft]:
        return self._kept.setdefault(kind, [])

    def kept(self) -> list[Draft]:
        most = self.found.spec.count_per_kind
        return [draft for kind in self.found.spec.kinds for draft in self.kept_of(kind)[:most]]

    def order(self, kind: str) -> list[Document]:
        """All documents, in an order of the kind's own, so that kinds do not ask about the same few."""
        documents = [document for pool in self.pools.values() for document in pool.documents]
        random.Random(f"{self.found.spec.seed} {kind}").shuffle(documents)
        return documents

    async def write(self, kind: str, wave: Sequence[Document]) -> None:
        drafts = [draft for draft in await self._drafts(kind, wave) if self._is_new(draft)]
        choices = [draft for draft in drafts if not draft.is_list]
        lists = [draft for draft in drafts if draft.is_list]
        items = [checking.score_items(draft) for draft in choices]
        sums = iter(await self._score([item for of_draft in items for item in of_draft]))
        for draft, of_draft in zip(choices, items, strict=True):
            self._keep(partial(checking.scored, draft, list(islice(sums, len(of_draft)))))
        prompts = [prompt for draft in lists for prompt in checking.list_prompts(draft)]
        texts = await self._generate(self.found.checker, prompts, ["\n"])
        for number, draft in enumerate(lists):
            self._keep(partial(checking.listed, draft, texts[2 * number : 2 * number + 2]))

    async def _drafts(self, kind: str, wave: Sequence[Document]) -> list[Draft]:
        spec = self.found.spec
        asked = await asyncio.to_thread(lambda: [self._in_sight(kind, document) for document in wave])
        if not template(spec.style, kind):
            outputs = ["\n".join(self._some(document.sentences)) for document in wave]
        else:
            prompts = [
                filled(spec.style, kind, sight[0].text, "\n".join(document.text for document in sight))
                for sight in asked
            ]
            outputs = await self._generate(self.found.writer, prompts, [])
        # Counting words of many documents takes a while; the lease must be kept meanwhile.
        return await asyncio.to_thread(self._parsed, kind, asked, outputs)

    def _parsed(self, kind: str, asked: Sequence[Sequence[Document]], outputs: Sequence[str]) -> list[Draft]:
        drafts = []
        for sight, output in zip(asked, outputs, strict=True):
            pool = self.pools[sight[0].group]
            written = cloze.statements(output) if self.found.spec.style == "cloze" else [output]
            for text in written[:PER_DOCUMENT] or [""]:
                try:
                    drafts.append(self._draft(kind, text, sight, pool))
                except Dropped as drop:
                    self.dropped[drop.reason] += 1
        return drafts

    def _draft(self, kind: str, text: str, sight: Sequence[Document], pool: Pool) -> Draft:
        if self.found.spec.style == "question":
            return question.draft(kind, text, sight, pool)
        return cloze.draft(kind, text, sight, pool, random.Random(f"{self.found.spec.seed} {text}"))

    def _some(self, sentences: Sequence[str]) -> Sequence[str]:
        rng = random.Random(f"{self.found.spec.seed} {len(sentences)} {sentences[:1]}")
        return rng.sample(sentences, min(PER_DOCUMENT, len(sentences)))

    def _in_sight(self, kind: str, document: Document) -> list[Document]:
        if kind not in TOGETHER:
            return [document]
        return [document, *self.pools[document.group].related(document, READ_TOGETHER - 1)]

    def _is_new(self, draft: Draft) -> bool:
        mark = normalized(f"{draft.sources[0].group} {draft.statement}")
        if mark in self._seen:
            self.dropped[DUPLICATE] += 1
            return False
        self._seen.add(mark)
        return True

    def _keep(self, check: "partial[Draft]") -> None:
        try:
            draft = check()
        except Dropped as drop:
            self.dropped[drop.reason] += 1
        else:
            self.kept_of(draft.kind).append(draft)

    async def _generate(self, model: trainer_pb2.Model, prompts: list[str], stop: list[str]) -> list[str]:
        if not prompts:
            return []
        most = MOST_TOKENS[self.found.spec.style]
        request = inference_pb2.GenerateRequest(model=model.name, prompts=prompts, max_tokens=most, stop=stop)

        async def ask() -> Entry:
            answer = await self.client.stubs.inference.Generate(request, timeout=CALL_S)
            texts = [generation.text for generation in answer.generations]
            return {"answers": texts, "usage": usage_of(answer.usage)}

        return await self._once(["write", model.sha256, most, stop, prompts], ask)

    async def _score(self, items: list[inference_pb2.ScoreItem]) -> list[list[float]]:
        model, sums = self.found.checker, []
        for run in in_messages(items):
            request = inference_pb2.ScoreRequest(model=model.name, items=run)

            async def ask(request: inference_pb2.ScoreRequest = request) -> Entry:
                answer = await self.client.stubs.inference.Score(request, timeout=CALL_S)
                found = [[choice.sum_logprob for choice in scores.choices] for scores in answer.items]
                return {"answers": found, "usage": usage_of(answer.usage)}

            asked = [[item.prompt, list(item.choices)] for item in run]
            sums.extend(await self._once(["check", model.sha256, asked], ask))
        return sums

    async def _once(self, depends_on: list[Any], ask: Any) -> list[Any]:
        entry = await self.answers.once(depends_on, ask)
        fresh, cached, generated, flops, compute_s = entry["usage"]
        self.cost.prompt_token_count += int(fresh)
        self.cost.cached_token_count += int(cached)
        self.cost.generated_token_count += int(generated)
        self.cost.flops += flops
        self.cost.compute_seconds += compute_s
        found: list[Any] = entry["answers"]
        return found


def waves(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    for start in range(0, len(documents), WAVE):
        yield documents[start : start + WAVE]


def in_messages(items: Sequence[inference_pb2.ScoreItem]) -> Iterator[list[inference_pb2.ScoreItem]]:
    """Runs of items that fit a message."""
    run: list[inference_pb2.ScoreItem] = []
    size = 0
    for item in items:
        if run and (len(run) == CHECKED_TOGETHER or size + item.ByteSize() > MESSAGE_BYTES):
            yield run
            run, size = [], 0
        run.append(item)
        size += item.ByteSize()
    if run:
        yield run
