"""What the model writes by itself, word for word: local operations and answers to list questions."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tasks
from scoring import generate
from tokenizer import WordEncoder
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from ingrain.worlds import GENERATORS, HELDOUT_WORDINGS, WORDINGS, comparisons, in_context
from ingrain.worlds.comparisons import Comparison, Dimension
from ingrain.worlds.logic import Syllogism, draw_syllogism
from ingrain.worlds.names import BENCHMARK, NameSource


@dataclass(frozen=True)
class Reader:
    """A model with its tokenizer, to be asked for text."""

    model: LlamaForCausalLM
    tokenizer: Tokenizer
    encoder: WordEncoder

    def write(self, prompts: Sequence[str]) -> list[str]:
        """The likeliest continuation of each prompt, without the space before it."""
        return generate(self.model, self.encoder, self.tokenizer.decode, prompts)


def measure(reader: Reader, n: int) -> Iterator[tuple[str, tuple[float, int]]]:
    """Each measurement's name, with its share and the number of items."""
    rng = random.Random("written/0")
    facts = _comparisons(rng, n, comparisons.DIMENSIONS)
    strange = _comparisons(rng, n, comparisons.HELDOUT_DIMENSIONS)
    for operation in ("rephrase", "reverse", "infer"):
        wording = WORDINGS[operation][0]
        yield f"written/{operation}", _comparing(reader, rng, facts, operation, wording)
        name = f"written-heldout-relations/{operation}"
        yield name, _comparing(reader, rng, strange[: n // 2], operation, wording)
        for number, unseen in enumerate(HELDOUT_WORDINGS[operation]):
            name = f"written-heldout-wording-{number}/{operation}"
            yield name, _comparing(reader, rng, facts[: n // 2], operation, unseen)
    names = NameSource(rng, BENCHMARK)
    pairs = [draw_syllogism(rng, names.take(3)) for _ in range(n)]
    yield "written/infer-syllogism", _concluding(reader, pairs)
    yield "list-f1", _listing(reader, n // 2, heldout=False)
    yield "list-f1-heldout-questions", _listing(reader, n // 2, heldout=True)


def _comparisons(rng: random.Random, n: int, dimensions: tuple[Dimension, ...]) -> list[Comparison]:
    names = NameSource(rng, BENCHMARK)
    return [tasks.draw_comparison(rng, names, dimensions) for _ in range(n)]


def _comparing(
    reader: Reader, rng: random.Random, facts: list[Comparison], operation: str, wording: str
) -> tuple[float, int]:
    """Share of outputs whose every line is the fact itself, or its reversal."""
    prompts = [in_context([tasks.document(rng, fact)], wording) for fact in facts]
    right = 0
    for fact, text in zip(facts, reader.write(prompts), strict=True):
        wanted = fact.forward if operation == "rephrase" else fact.reversed
        right += set(text.split("\n")) == {wanted.text}
    return right / len(facts), len(facts)


def _concluding(reader: Reader, facts: list[Syllogism]) -> tuple[float, int]:
    """Share of outputs whose every line is the conclusion, asked in either order of its ends."""
    prompts = [in_context([fact.document], WORDINGS["infer"][0]) for fact in facts]
    right = 0
    for fact, text in zip(facts, reader.write(prompts), strict=True):
        wanted = {
            f"{fact.query(swapped)} {claim.text}"
            for swapped in (False, True)
            for claim in fact.conclusion.equivalents
        }
        right += set(text.split("\n")) <= wanted
    return right / len(facts), len(facts)


def _listing(reader: Reader, n: int, heldout: bool) -> tuple[float, int]:
    """Mean F1 of the names in the answers to catalogue questions, the catalogue in context."""
    prompts: list[str] = []
    wanted: list[set[str]] = []
    seed = 20_000
    while len(prompts) < n:
        world = GENERATORS["catalogue"](seed, heldout_questions=heldout)
        seed += 1
        documents = [row["text"] for row in world.documents]
        for probe in world.probes:
            if probe["kind"] == "list":
                question = WORDINGS["question"][0].format(question=probe["question"])
                prompts.append(in_context(documents, question))
                wanted.append(set(probe["answers"]))
    scores = [
        _f1(set(re.findall(r"[a-z]+", text)) - {"and"}, answers)
        for text, answers in zip(reader.write(prompts), wanted, strict=True)
    ]
    return sum(scores) / len(scores), len(scores)


def _f1(found: set[str], wanted: set[str]) -> float:
    return 2 * len(found & wanted) / (len(found) + len(wanted))
