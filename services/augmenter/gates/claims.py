"""Whether a statement follows from its documents, claim by claim: what the judge is asked, and what its answer means."""

import json
from collections.abc import Sequence
from typing import Any

MOST_CLAIMS = 8
SUPPORTED, CONTRADICTED, NOT_MENTIONED = "supported", "contradicted", "not_mentioned"
UNREADABLE = "unreadable"
VERDICTS = (SUPPORTED, CONTRADICTED, NOT_MENTIONED)
MAX_TOKENS = 512
VERSION = "claims/1"  # part of what a stored verdict depends on

PROMPT = (
    "{documents}\n\n"
    "Above are documents. Below is a statement that somebody inferred from them.\n"
    "Split the statement into its claims, at most {most_claims}. Of each claim say whether the documents support it: "
    '"supported" when they say it or it follows from them, "contradicted" when they say otherwise, "not_mentioned" '
    "when they do not tell. Use the documents only, whether or not what they speak of exists.\n"
    'Answer with JSON: {"claims": [{"claim": "...", "verdict": "..."}]}\n\n'
    "Statement: {statement}"
)
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "claims": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_CLAIMS,
                "items": {
                    "type": "object",
                    "properties": {
                        "claim": {"type": "string", "maxLength": 400},
                        "verdict": {"enum": list(VERDICTS)},
                    },
                    "required": ["claim", "verdict"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["claims"],
        "additionalProperties": False,
    }
)


def prompt_of(statement: str, documents: Sequence[str]) -> str:
    filled = PROMPT.replace("{most_claims}", str(MOST_CLAIMS))
    before, _, after = filled.partition("{documents}")
    return before + "\n".join(documents) + after.replace("{statement}", statement)


def verdict_of(output: str) -> str:
    """`supported` where every claim is, else the worst verdict of a claim; `unreadable` where the answer is no such thing."""
    found = [claim.get("verdict") for claim in _claims(output) if isinstance(claim, dict)]
    if not found or any(verdict not in VERDICTS for verdict in found):
        return UNREADABLE
    for verdict in (CONTRADICTED, NOT_MENTIONED):
        if verdict in found:
            return verdict
    return SUPPORTED


def _claims(output: str) -> list[Any]:
    """Those of the first JSON object in the answer, whatever is said around it."""
    start = output.find("{")
    if start < 0:
        return []
    try:
        answer, _ = json.JSONDecoder().raw_decode(output[start:])
    except (ValueError, RecursionError):
        return []
    claims = answer.get("claims") if isinstance(answer, dict) else None
    return claims if isinstance(claims, list) else []
