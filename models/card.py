"""The numbers of the model card, as a table between two marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

BEGIN, END = "<!-- numbers -->", "<!-- end of numbers -->"

# How each measurement reads in the card; the rest of its name follows in brackets.
TITLES = {
    "reversal": "reversal, 2 choices, facts in context",
    "forward": "the stated direction, 2 choices, facts in context",
    "reversal-heldout-relations": "reversal, adjectives never seen, facts in context",
    "reversal-4-documents-a-fact": "reversal, 4 documents a fact, facts in context",
    "syllogism": "syllogism, 6 choices, pairs in context",
    "catalogue": "catalogue, 4-6 choices, 24 documents in context",
    "descriptions": "names and descriptions, 4 choices, 16 documents in context",
    "hierarchy": "categories and inheritance, 4 choices, 16 documents in context",
    "reversal-no-context": "reversal without context",
    "forward-no-context": "the stated direction without context",
    "syllogism-no-context": "syllogism without context",
    "written": "word for word",
    "written-heldout-relations": "word for word, adjectives never seen",
    "written-heldout-wording-0": "word for word, first prompt wording never seen",
    "written-heldout-wording-1": "word for word, second prompt wording never seen",
    "list-f1": "list question, mean F1, catalogue in context",
    "list-f1-heldout-questions": "list question never seen, mean F1, catalogue in context",
}


def table(results: Mapping[str, Mapping[str, object]]) -> str:
    lines = [
        "| task | accuracy | 95 % interval | n | chance |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, result in results.items():
        title, _, part = name.partition("/")
        label = TITLES.get(title, title) + (f": {part}" if part else "")
        low, high = result["ci95"]
        chance = f"{result['chance']:.3f}" if "chance" in result else ""
        share = f"{result['accuracy']:.3f}"
        lines.append(f"| {label} | {share} | {low:.3f} to {high:.3f} | {result['n']} | {chance} |")
    return "\n".join(lines)


def write_numbers(path: Path, results: Mapping[str, Mapping[str, object]]) -> None:
    """Replace what stands between the marks; a card without them gets both at its end."""
    text = path.read_text() if path.exists() else ""
    if BEGIN not in text:
        text = f"{text}\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}")
