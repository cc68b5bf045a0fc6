"""Measure the bundled model on worlds and names that it never saw, and write down the numbers.

    python models/evaluate.py                        # models/small: evaluation.json and the card
    python models/evaluate.py --model <folder> --n 200 --print-only

Every share has its number of items and Wilson's 95 % interval.
"""

# ruff: isort: off
import lean

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

import card
import tasks
import written
from ingrain.worlds import comparisons
from ingrain.worlds.names import BENCHMARK
from scoring import Choice, accuracy, wilson
from tokenizer import WordEncoder

FACTS = (1, 4, 8, 16, 32)
PAIRS = (1, 4, 8)
PARTS = ("choices", "written")
Measured = dict[str, float | int | list[float]]


def measured(share: float, n: int) -> Measured:
    low, high = wilson(share, n)
    return {"accuracy": round(share, 4), "n": n, "ci95": [round(low, 4), round(high, 4)]}


def choices(n: int, rng: random.Random) -> dict[str, Callable[[], Sequence[Choice]]]:
    """The forced-choice tasks by name; items of one world share its context."""
    heldout = comparisons.HELDOUT_DIMENSIONS
    found: dict[str, Callable[[], Sequence[Choice]]] = {}
    for facts in FACTS:
        found[f"reversal/{facts}"] = lambda k=facts: tasks.reversals(rng, BENCHMARK, k, n, k)
    for pairs in PAIRS:
        found[f"syllogism/{pairs}"] = lambda k=pairs: tasks.syllogisms(rng, BENCHMARK, k, n, k)
    found["reversal-no-context"] = lambda: tasks.reversals(rng, BENCHMARK, 1, n, context=False)
    found["forward-no-context"] = lambda: tasks.reversals(rng, BENCHMARK, 1, n, context=False, forward=True)
    found["syllogism-no-context"] = lambda: tasks.syllogisms(rng, BENCHMARK, 1, n, context=False)
    for facts in (1, 16):
        found[f"forward/{facts}"] = lambda k=facts: tasks.reversals(rng, BENCHMARK, k, n, k, forward=True)
        found[f"reversal-heldout-relations/{facts}"] = lambda k=facts: tasks.reversals(
            rng, BENCHMARK, k, n, k, dimensions=heldout
        )
    found["reversal-4-documents-a-fact/16"] = lambda: tasks.repeated_reversals(rng, BENCHMARK, 16, 4, n)
    for generator in ("catalogue", "descriptions", "hierarchy"):
        found[generator] = lambda g=generator: tasks.world_items(g, n)
    return found


def say(line: str) -> None:
    print(line, flush=True)


def evaluate(folder: Path, n: int, parts: Sequence[str]) -> dict[str, Measured]:
    """All measurements of a model folder by name."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder = WordEncoder(tokenizer)
    rng = random.Random("evaluate/0")
    results: dict[str, Measured] = {}
    if "choices" in parts:
        for name, make in choices(n, rng).items():
            items = make()
            results[name] = measured(*accuracy(model, encoder, items))
            chance = sum(len(item.right) / len(item.choices) for item in items) / len(items)
            results[name]["chance"] = round(chance, 4)
            say(f"{name}: {results[name]}")
    if "written" in parts:
        reader = written.Reader(model, tokenizer, encoder)
        for name, (share, count) in written.measure(reader, max(50, n // 4)):
            results[name] = measured(share, count)
            say(f"{name}: {results[name]}")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, default=lean.HERE / "small")
    parser.add_argument("--n", type=int, default=2000, help="items a task")
    parser.add_argument("--part", choices=PARTS, action="append", help="only these parts")
    parser.add_argument("--print-only", action="store_true", help="write no file")
    given = parser.parse_args()
    results = evaluate(given.model, given.n, given.part or PARTS)
    if not given.print_only:
        text = json.dumps(results, indent=1)
        (given.model / "evaluation.json").write_text(text + "\n")
        card.write_numbers(given.model / "README.md", results)


if __name__ == "__main__":
    main()
