"""The report's entry about what was derived. Pure."""

from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from ingrain.v1 import datasets_pb2
from servicekit.prices import shown
from services.studies import costs
from services.studies.findings import Labelled

MOST_EXAMPLES = 3
EXAMPLE_CHARACTERS = 300


def derived(
    dataset: datasets_pb2.Dataset, labelled: Labelled | None, judge_price: Decimal | None
) -> dict[str, Any]:
    source = dataset.provenance
    return {
        "dataset": dataset.name,
        "sha256": dataset.sha256,
        "row_count": dataset.row_count,
        "model": source.model,
        "model_sha256": source.model_sha256,
        "prompt_set": source.prompt_set,
        "kept": dict(sorted(source.kept_counts.items())),
        "dropped": dict(sorted(source.dropped_counts.items())),
        "dropped_examples": {
            reason: list(examples.texts) for reason, examples in sorted(source.dropped_examples.items())
        },
        "token_count": source.token_count,
        "prompt_count": source.prompt_count,
        "reused_prompt_count": source.reused_prompt_count,
        "cost": asdict(costs.amount(source.cost)),
        "judge": _judge(source, judge_price),
        "notes": list(source.notes),
        "labels": None if labelled is None else _labels(labelled),
    }


def _judge(source: datasets_pb2.Provenance, price: Decimal | None) -> dict[str, Any] | None:
    """Its part of the derivation's cost."""
    if not source.judge:
        return None
    return {
        "model": source.judge,
        "model_sha256": source.judge_sha256,
        "cost": asdict(costs.amount(source.judge_cost)),
        "price": None if price is None else shown(price),
    }


def _labels(labelled: Labelled) -> dict[str, Any]:
    """`excluded`: rows that the study's `exclusion` left out of training."""
    return {
        "seen": _label(labelled.labels.seen, labelled),
        "covered": _label(labelled.labels.covered, labelled),
        "excluded": labelled.excluded_count,
    }


def _label(places: Mapping[int, str], labelled: Labelled) -> dict[str, Any]:
    examples = [(labelled.rows[place], probe) for place, probe in list(places.items())[:MOST_EXAMPLES]]
    return {
        "count": len(places),
        "examples": [
            {"row": str(row.get("id", "")), "probe": probe, "text": str(row["text"])[:EXAMPLE_CHARACTERS]}
            for row, probe in examples
        ],
    }
