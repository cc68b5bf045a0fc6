"""Kept drafts as rows of a PROBES dataset, and what the dataset's labels say of them."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.v1 import common_pb2
from services.evaluator.writing.drafts import Draft
from services.evaluator.writing.prompts import template, version
from services.evaluator.writing.spec import Inputs


def row_of(draft: Draft, found: Inputs, number: int) -> dict[str, Any]:
    """`metadata` says where it came from; an editor may change all of it."""
    spec = found.spec
    written = template(spec.style, draft.kind)
    metadata: dict[str, Any] = {
        "source": f"{'written by a model' if written else 'a sentence of the document'}, checked by a model",
        "sources": [document.id for document in draft.sources],
        "generator": found.writer.name if written else "",
        "checker": found.checker.name,
        "prompt_version": version(spec.style),
        "statement": draft.statement,
        "checks": draft.checks,
    }
    if spec.group_key:
        metadata[spec.group_key] = draft.sources[0].group
    row: dict[str, Any] = {"id": f"{draft.kind}-{number:04d}", "kind": draft.kind}
    if draft.is_list:
        asked = draft.statement
        return row | {"question": asked, "answers": list(draft.answers), "metadata": metadata}
    choices = [draft.right, *draft.wrong]
    random.Random(f"{spec.seed} {draft.prompt} {draft.right}").shuffle(choices)
    return row | {"prompt": draft.prompt, "choices": choices, "answer": draft.right, "metadata": metadata}


def labels_of(
    found: Inputs, kept: Sequence[Draft], dropped: Mapping[str, int], cost: common_pb2.Cost
) -> dict[str, str]:
    """What a reader of a verdict must know of its probes; `kept`, `dropped` and `cost` are JSON."""
    same = found.checker.name == found.writer.name
    checked = "by the model that wrote them" if same else "by another model"
    return {
        "made_by": "GenerateProbes",
        "style": found.spec.style,
        "source_dataset": found.dataset.name,
        "source_sha256": found.dataset.sha256,
        "generator": found.writer.name,
        "generator_sha256": found.writer.sha256,
        "checker": found.checker.name,
        "checker_sha256": found.checker.sha256,
        "prompt_version": version(found.spec.style),
        "seed": str(found.spec.seed),
        "kept": json.dumps(Counter(draft.kind for draft in kept), sort_keys=True),
        "dropped": json.dumps(dict(dropped), sort_keys=True),
        "cost": json.dumps(
            {
                "prompt_token_count": cost.prompt_token_count,
                "generated_token_count": cost.generated_token_count,
                "flops": cost.flops,
            }
        ),
        "trust": f"{len(kept)} probes written by a model and checked {checked}; read and edit them before you rely on a verdict",
    }
