"""A few prompts of each strategy, asked side by side, and what becomes of their outputs. No row is stored;
a context that global strategies read stays, and is there for the derivation.

What is shown is what a derivation writes first: its prompts, with the seeds of its first samples.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from ingrain import AsyncClient
from ingrain.v1 import augmenter_pb2, inference_pb2, trainer_pb2
from servicekit.patience import Patience
from services.augmenter.counting import room_of
from services.augmenter.gates import Sieve
from services.augmenter.generating import Generator
from services.augmenter.parsing import parsed
from services.augmenter.planning import Planned, asks_of, batches, follow_ups, most_outputs
from services.augmenter.sight import Room
from services.augmenter.spec import Spec
from services.augmenter.strategies import Ask, Document

PATIENCE_S = 20.0  # somebody waits


@dataclass(frozen=True)
class Preview:
    """Of one request. `model` is empty where none is asked; `count`: prompts of each strategy, at most."""

    client: AsyncClient
    given: augmenter_pb2.AugmentationSpec
    spec: Spec
    model: trainer_pb2.Model
    documents: Sequence[Document]
    count: int
    patience: Patience = field(default_factory=lambda: Patience(PATIENCE_S))

    async def response(self) -> augmenter_pb2.PreviewAugmentationResponse:
        response = augmenter_pb2.PreviewAugmentationResponse()
        room = await room_of(self.client, self.model, self.spec, self.documents, self.patience)
        items = await asyncio.to_thread(self._items, room)
        for item in items:
            if item.text is None and item.strategy not in response.prompts:
                response.prompts[item.strategy] = shown_prompt(item.ask, self.documents)
        texts = await self._texts(items)
        opened = [n for n, item in enumerate(items) if item.ask.opens]
        following = follow_ups(self.spec, items, texts, len(items))[: self.count * len(opened)]
        kept = [both for n, both in enumerate(zip(items, texts, strict=True)) if n not in opened]
        kept += list(zip(following, await self._texts(following), strict=True))
        self._sift(kept, response)
        return response

    def _items(self, room: Room | None) -> list[Planned]:
        """The first of each strategy."""
        found: list[Planned] = []
        for name in self.spec.strategies:
            rows = self.spec.strategy(name).rows
            if rows is not None:
                for made in islice(rows(self.documents, self.spec.seed, 0), self.count):
                    found.append(Planned(len(found), name, Ask("", made.documents, None), 0, made.text))
                continue
            for ask in islice(asks_of(self.spec, name, self.documents, room), self.count):
                found.append(Planned(len(found), name, ask, 0))
        return found

    async def _texts(self, items: Sequence[Planned]) -> list[str]:
        """Of each, made or written."""
        texts = {n: item.text or "" for n, item in enumerate(items)}
        numbered = [replace(self._readable(item), number=n) for n, item in enumerate(items)]
        asked = sorted(
            (item for item in numbered if item.text is None),
            key=lambda item: (item.ask.context_group or "", item.ask.structured),
        )
        generator = Generator(
            self.client,
            self.given,
            self.spec,
            self.model,
            self.documents,
            self._dataset,
            self.patience,
            inference_pb2.INTERACTIVE,
        )
        calls = list(batches(asked, min(len(asked) or 1, most_outputs(self.spec.max_tokens))))
        for batch, written in zip(calls, await asyncio.gather(*map(generator.write, calls)), strict=True):
            texts |= {item.number: one.text for item, one in zip(batch, written, strict=True)}
        return [texts[n] for n in range(len(items))]

    def _readable(self, item: Planned) -> Planned:
        """Documents that no dataset holds are read with the prompt."""
        if not self.spec.shuffled or item.ask.context_group is None:
            return item
        prompt = shown_prompt(item.ask, self.documents)
        return replace(item, ask=replace(item.ask, prompt=prompt, context_group=None))

    async def _dataset(self) -> str:
        return self.given.dataset

    def _sift(
        self, items: Sequence[tuple[Planned, str]], response: augmenter_pb2.PreviewAugmentationResponse
    ) -> None:
        """By the gates that ask no model; how many prompts agree is not known from a few."""
        sieve = Sieve.over(self.documents, self.spec)
        for item, output in items:
            statements = parsed(item, output)
            if not statements:
                response.dropped.add(reason="unparsable", text=output, strategy=item.strategy)
            for statement in statements:
                if item.text is not None:
                    reason = sieve.reason_to_drop_made(statement)
                else:
                    read = (*item.ask.read, *item.ask.documents)
                    reason = sieve.reason_to_drop(statement, read)
                if reason:
                    response.dropped.add(reason=reason, text=statement, strategy=item.strategy)
                    continue
                row = {
                    "text": statement,
                    "metadata": {"strategy": item.strategy},
                    "provenance": {"source_rows": [document.id for document in item.ask.documents]},
                }
                response.rows.append(json.dumps(row, ensure_ascii=False))


def shown_prompt(ask: Ask, documents: Sequence[Document]) -> str:
    """With the documents that the model reads before it."""
    if ask.context_group is None:
        return ask.prompt
    group = [document.text for document in documents if document.group == ask.context_group]
    return "\n".join(group) + "\n\n" + ask.prompt
