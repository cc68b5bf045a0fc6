"""Outputs that keep to a JSON schema: tokens that would leave it get no probability (by the library llguidance)."""

from collections import OrderedDict
from typing import Any

import llguidance
import llguidance.hf
import numpy as np
import torch

from servicekit.errors import Invalid

REMEMBERED = 64  # schemas, compiled
COMPACT = {"whitespace_flexible": False}  # a weak model could write spaces for ever


class Schemas:
    """Of one tokenizer."""

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._size = vocabulary_size
        self._made: Any = None
        self._grammars: OrderedDict[str, str] = OrderedDict()

    def follow(self, schema: str) -> "Followed":
        if self._made is None:
            self._made = llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._size)
        if schema not in self._grammars:
            self._grammars[schema] = self._compiled(schema)
            while len(self._grammars) > REMEMBERED:
                self._grammars.popitem(last=False)
        self._grammars.move_to_end(schema)
        return Followed(self._made, self._grammars[schema], self._size)

    def _compiled(self, schema: str) -> str:
        try:
            grammar: str = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=COMPACT)
        except ValueError as error:
            raise bad_schema(error) from None
        if problem := llguidance.LLMatcher.validate_grammar(grammar, self._made):
            raise bad_schema(problem)
        return grammar


def bad_schema(problem: object) -> Invalid:
    return Invalid("BAD_SCHEMA", f"the JSON schema cannot be kept to: {problem}", field="json_schema")


class Followed:
    """One output on its way."""

    def __init__(self, tokenizer: Any, grammar: str, size: int) -> None:
        self._matcher = llguidance.LLMatcher(tokenizer, grammar)
        self._size = size

    def allow(self, logits_V: torch.Tensor, ends: set[int]) -> torch.Tensor:
        """The logits, of tokens that the schema allows next; `ends` only where the text may end."""
        allowed_V = torch.zeros(self._size, dtype=torch.bool)
        bias = np.frombuffer(self._matcher.compute_logit_bias(), dtype=np.uint8)[: self._size]
        allowed_V[: len(bias)] = torch.from_numpy(bias != 0)
        allowed_V[list(ends)] = bool(self._matcher.is_accepting())
        if not allowed_V.any():
            raise bad_schema("no token of the model's vocabulary goes on from here")
        return logits_V.masked_fill(~allowed_V.to(logits_V.device), float("-inf"))

    def took(self, token: int) -> None:
        self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_stopped())
