"""What a derivation will take, reckoned before it runs: from some of its prompts, from what is in the store already, and from
what earlier derivations with the model took. Each number is told with where it comes from.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingrain import AsyncClient
from ingrain.v1 import augmenter_pb2, common_pb2, inference_pb2, studies_pb2, trainer_pb2
from servicekit.contexts import context_name
from servicekit.costs import forward_flops
from servicekit.errors import Invalid
from servicekit.pace import in_words
from services.augmenter.asking import digests
from services.augmenter.counting import counts_of, room_of
from services.augmenter.generating import Generator
from services.augmenter.outputs import Outputs
from services.augmenter.planning import Planned, plan, sample_prompts
from services.augmenter.pricing import priced
from services.augmenter.rates import ALL, Rate, Rates
from services.augmenter.spec import Spec
from services.augmenter.strategies import Document

COUNTED = 1024  # documents of contexts whose tokens are counted, where there are more
PAGE = 1000


@dataclass(frozen=True)
class Estimator:
    """Of one request. `source`: the name of the dataset; `model` is empty where none is asked."""

    client: AsyncClient
    given: augmenter_pb2.AugmentationSpec
    spec: Spec
    model: trainer_pb2.Model
    documents: Sequence[Document]
    outputs: Outputs
    rates: Rates
    prices: studies_pb2.PriceTable

    async def estimate(self) -> common_pb2.Estimate:
        room = await room_of(self.client, self.model, self.spec, self.documents)
        planned = await asyncio.to_thread(plan, self.spec, self.documents, room)
        if not planned and not self.spec.original_copies:
            raise Invalid(
                "NOTHING_TO_ASK", "these strategies find nothing to ask about in the documents", field="spec"
            )
        asked = [item for item in planned if item.text is None]
        work = await self._work(asked)
        notes = [
            *made_notes(len(planned) - len(asked)),
            *work.notes,
            *(await self._time(work) if asked else []),
            *self._open_notes(asked),
        ]
        price, of = await self._price(work) if asked else (None, [])
        return common_pb2.Estimate(
            cost=work.cost, row_count=len(self.documents), notes=[*notes, *of], price=price
        )

    async def _work(self, asked: Sequence[Planned]) -> "Work":
        """Tokens and operations of what is not in the store."""
        work = Work()
        if not asked:
            return work
        of = digests(self.spec, self.model.sha256, self.documents, asked)
        by_digest = dict(zip(of, asked, strict=True))
        kept = await self.outputs.which(list(by_digest))
        new = [item for digest, item in by_digest.items() if digest not in kept]
        by_strategy = Counter(item.strategy for item in asked)
        told = ", ".join(f"{count:,} {name}" for name, count in by_strategy.items())
        work.notes.append(f"{len(asked):,} prompts ({told}).")
        if kept:
            there = len(asked) - len(new)
            work.notes.append(
                f"{there:,} of them cost nothing: the same was asked before, or is asked once for several."
            )
        if not new:
            return work
        sample = sample_prompts(new)
        counts = await counts_of(self.client, self.model.name, sample)
        each = sum(counts) / len(sample)
        work.notes.append(
            f"A prompt to be asked has {each:.0f} tokens on average (from {len(sample):,} of them)."
        )
        contexts = await self._contexts(new, work)
        rates = await self.rates.of(self.model.sha256)
        shape = await self._shape()
        for name, items in grouped(new).items():
            written = self._written(name, items, rates, work)
            read = each * len(items)
            before = sum(contexts.get(item.ask.context_group, 0.0) for item in items)
            work.add(shape, len(items), read, before, written, reads_all=self.model.HasField("endpoint"))
        work.new_count = len(new)
        return work

    async def _contexts(self, new: Sequence[Planned], work: "Work") -> Mapping[str | None, float]:
        """Tokens of each context that is read, and of those that must be made first."""
        groups = [
            group for group in dict.fromkeys(item.ask.context_group for item in new) if group is not None
        ]
        if not groups:
            return {}
        texts = {group: "\n".join(d.text for d in self.documents if d.group == group) for group in groups}
        counted = [d.text for d in self.documents if d.group in texts]
        counted = counted[:: -(-len(counted) // COUNTED)]
        counts = await counts_of(self.client, self.model.name, counted)
        # The break after each document is a token of its own.
        per_byte = (sum(counts) + len(counts)) / sum(len(text.encode()) + 1 for text in counted)
        tokens = {group: per_byte * (len(text.encode()) + 1) for group, text in texts.items()}
        if self.model.HasField("endpoint"):
            work.notes.append(
                f"The documents of {len(groups):,} groups are sent with each of their prompts; what the server has of them in a "
                "cache of its own is not known."
            )
            return tokens
        there = await self._made_contexts()
        missing = [group for group in groups if self._context_name(group) not in there]
        for group in missing:
            work.add(await self._shape(), 1, tokens[group], 0.0, 0.0)
        read = sum(tokens[group] for group in missing)
        work.notes.append(
            f"Documents of {len(missing):,} of {len(groups):,} groups are read once, {read:,.0f} tokens; each prompt after "
            "that finds them there."
        )
        return tokens

    async def _made_contexts(self) -> set[str]:
        found = set()
        request = inference_pb2.ListContextsRequest(parent=self.client.parent, page_size=PAGE)
        while True:
            page = await self.client.stubs.inference.ListContexts(request)
            found |= {context.name for context in page.contexts if context.state == common_pb2.ACTIVE}
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    def _context_name(self, group: str) -> str:
        if self.spec.shuffled:  # of a dataset that is yet to be made
            return ""

        async def read_from() -> str:
            return self.given.dataset

        generator = Generator(self.client, self.given, self.spec, self.model, self.documents, read_from)
        return context_name(self.client, "augment", *generator.wanted_context(group, self.given.dataset))

    def _written(
        self, strategy: str, items: Sequence[Planned], rates: Mapping[str, tuple[Rate, str]], work: "Work"
    ) -> float:
        most = len(items) * self.spec.max_tokens
        found = rates.get(strategy)
        if found is None:
            work.notes.append(
                f"At most {self.spec.max_tokens} tokens are written to each prompt of `{strategy}`; models mostly stop earlier."
            )
            return most
        rate, source = found
        each = min(self.spec.max_tokens, rate.written_each)
        work.notes.append(
            f"{each:.0f} tokens are written to a prompt of `{strategy}`, as for {source}; at most {self.spec.max_tokens}."
        )
        return each * len(items)

    async def _shape(self) -> trainer_pb2.Model:
        """That of the weights: an adapter's are its base model's."""
        if not self.model.adapter:
            return self.model
        request = trainer_pb2.GetModelRequest(name=self.model.base_model)
        base: trainer_pb2.Model = await self.client.stubs.trainer.GetModel(request)
        return base

    async def _time(self, work: "Work") -> list[str]:
        """Fills the seconds in, as far as they are known."""
        if not work.new_count:
            return []
        found = (await self.rates.of(self.model.sha256)).get(ALL)
        if found is None:
            return [
                "How long it will take is not known: nothing was derived with this model here yet. A derivation of a few "
                "documents tells it."
            ]
        rate, source = found
        if rate.flops and work.cost.flops:
            share = work.cost.flops / rate.flops
            by = f"{rate.flops / max(1e-9, rate.compute_seconds) / 1e9:.3g} GFLOP/s"
        else:
            share = work.new_count / rate.prompt_count
            by = f"{rate.prompt_count / max(1e-9, rate.wall_seconds):.3g} prompts a second"
        work.cost.compute_seconds = share * rate.compute_seconds
        work.cost.wall_seconds = share * rate.wall_seconds
        return [f"It takes about {in_words(work.cost.wall_seconds)}, at {by} as measured for {source}."]

    async def _price(self, work: "Work") -> tuple[common_pb2.Money | None, list[str]]:
        """In money and a sentence about it; nothing where the operator has set no prices."""
        untimed = work.new_count and not work.cost.compute_seconds
        if self.prices.currency_code and untimed and not self.model.HasField("endpoint"):
            return None, ["It has no price as long as its time is not known."]
        return await priced(self.client, [(work.cost, self.model)], self.prices)

    def _open_notes(self, asked: Sequence[Planned]) -> list[str]:
        """What is not in the numbers."""
        spec, notes = self.spec, []
        opening = sorted({item.strategy for item in asked if item.ask.opens})
        if opening:
            names = ", ".join(f"`{name}`" for name in opening)
            notes.append(f"{names}: the prompts that follow from what the model chooses are not counted.")
        if any(item.ask.structured for item in asked):
            notes.append("Prompts whose output cannot be read are asked again, at most twice; not counted.")
        if spec.target_tokens:
            notes.append(
                f"No further round of samples is asked once kept rows hold {spec.target_tokens:,} tokens: it may take less."
            )
        if spec.gates.likelier_than_contradiction:
            notes.append("Weighing statements against their contradictions is not counted.")
        if spec.gates.judge:
            notes.append(f"What {spec.gates.judge} takes to judge the statements is not counted.")
        return notes


@dataclass
class Work:
    """`new_count`: prompts that are not in the store."""

    cost: common_pb2.Cost = field(default_factory=common_pb2.Cost)
    notes: list[str] = field(default_factory=list)
    new_count: int = 0

    def add(
        self,
        shape: trainer_pb2.Model,
        count: int,
        read: float,
        before: float,
        written: float,
        *,
        reads_all: bool = False,
    ) -> None:
        """`count` prompts of `read` tokens together, after contexts of `before`. `reads_all`: nothing is shared between them."""
        cost = self.cost
        cost.prompt_token_count += round(read + before if reads_all else read)
        cost.cached_token_count += 0 if reads_all else round(before)
        cost.generated_token_count += round(written)
        if shape.parameter_count:
            each = round((read + written) / count)
            flops = forward_flops(
                shape.parameter_count, shape.layer_count, shape.hidden_size, each, round(before / count)
            )
            cost.flops += count * flops


def grouped(items: Sequence[Planned]) -> dict[str, list[Planned]]:
    found: dict[str, list[Planned]] = {}
    for item in items:
        found.setdefault(item.strategy, []).append(item)
    return found


def made_notes(count: int) -> list[str]:
    return [f"{count:,} rows are made by rules, without a model, before gates."] if count else []
