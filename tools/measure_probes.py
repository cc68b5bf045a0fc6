"""How many probes that a model writes are right, counted on worlds whose truth is known: the table of docs/probes.md.

    python -m tools.measure_probes --target 127.0.0.1:7070 --model small --seeds 911 912

It needs a running platform and the name of a model on it, e.g. the bundled one (`ingrain model import bundled://small --id small`).
"""

import argparse
import json
import time
from collections import Counter
from typing import Any

from ingrain import Client
from ingrain.worlds.suite import suite
from tools.probe_truth import Truth

WORLDS = {
    "reversal_worlds": 12,
    "facts": 8,
    "repeats": 2,
    "syllogism_worlds": 6,
    "syllogism_count": 6,
    "catalogues": 4,
    "hierarchies": 4,
}
IN_GROUPS = {"group_key": "world", "distinct_key": "fact"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="127.0.0.1:7070")
    parser.add_argument("--model", default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[911, 912])
    parser.add_argument("--count", type=int, default=300, help="probes of each kind, at most")
    arguments = parser.parse_args()
    verdicts: Counter[tuple[str, str]] = Counter()
    dropped: Counter[str] = Counter()
    with Client(arguments.target) as client:
        for seed in arguments.seeds:
            started = time.monotonic()
            made, rows, truths = written(client, arguments.model, seed, arguments.count)
            dropped.update(json.loads(made.labels["dropped"]))
            print(f"seed {seed}: {len(rows)} probes in {time.monotonic() - started:.0f} s")
            for row in rows:
                verdict = judged(row, truths[row["metadata"]["world"]])
                verdicts[row["kind"], verdict] += 1
                if verdict != "right":
                    print(f"  {verdict}: {row['prompt']} {row['answer']} {row['choices']}")
    columns = ("right", "a second choice is right too", "wrong", "not told of")
    print(f"\n| kind | {' | '.join(columns)} |\n| --- | {'--- | ' * len(columns)}".rstrip())
    for kind in dict.fromkeys(kind for kind, _ in verdicts):
        print(f"| `{kind}` | {' | '.join(str(verdicts[kind, column]) for column in columns)} |")
    print(f"\nkept {verdicts.total()}, dropped {dropped.total()}: {dict(dropped)}")


def written(
    client: Client, model: str, seed: int, count: int
) -> tuple[Any, list[dict[str, Any]], dict[str, Truth]]:
    """The dataset of probes, its rows, and the truth of each world."""
    found = suite(seed=seed, **WORLDS)
    texts: dict[str, list[str]] = {}
    for document in found.documents:
        texts.setdefault(document["metadata"]["world"], []).append(document["text"])
    documents = client.datasets.upload(found.documents)
    operation = client.evaluations.generate_probes(documents.name, model, count_per_kind=count, **IN_GROUPS)
    made = operation.result()
    return made, list(client.datasets.rows(made.name)), {world: Truth(told) for world, told in texts.items()}


def judged(row: dict[str, Any], truth: Truth) -> str:
    right = truth.of(f"{row['prompt']} {row['answer']}")
    if right is None:
        return "not told of"
    if not right:
        return "wrong"
    others = [choice for choice in row["choices"] if choice != row["answer"]]
    return (
        "a second choice is right too"
        if any(truth.of(f"{row['prompt']} {other}") for other in others)
        else "right"
    )


if __name__ == "__main__":
    main()
