"""Greedy and sampled decoding, token by token.

Each prompt draws from a random stream of its own (see seeds): how prompts are batched and ordered does not change what is written.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from services.inference.engine.detokenise import Text
from services.inference.engine.models import LoadedModel
from services.inference.engine.passes import Feed
from services.inference.engine.sampling import described, pick
from services.inference.engine.seeds import stream_seeds
from services.inference.engine.sequences import Line
from services.inference.wire import Continuation, GenerateCall, Spent, Token

DESCRIBED = (
    256  # prompt tokens whose logits are computed in one pass, where their probabilities are asked for
)
RESERVED = 256  # tokens of an output that a sequence keeps room for beforehand


@dataclass
class Writing(Line):
    """One continuation on its way."""

    call: GenerateCall = field(kw_only=True)
    prompt_ids: list[int] = field(kw_only=True)
    stream: torch.Generator = field(kw_only=True)
    most: int = field(kw_only=True)
    schema: Any = None
    ids: list[int] = field(default_factory=list)
    text: str = ""
    finished: bool = False
    tokens: list[Token] = field(default_factory=list)
    prompt_tokens: list[Token] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._detokenised = Text(self.loaded.tokenizer, self.prompt_ids)
        self._ends = self.loaded.end_ids
        if self.schema:  # a token that is text may be a part of JSON
            self._ends = self._ends & set(self.loaded.tokenizer.all_special_ids)
        self._cache: Any = None
        self._ahead = 0  # how far the prompt is read when the feed under way has come back
        if self.call.prompt_logprobs:
            first = self.prompt_ids[0]
            self.prompt_tokens.append(Token(first, self.loaded.vocabulary.bytes_of(first), None))

    @property
    def done(self) -> bool:
        read = self.fed >= len(self.prompt_ids)
        return (self.finished or len(self.ids) >= self.most) and (read or not self.call.prompt_logprobs)

    @property
    def writing(self) -> bool:
        return self.fed >= len(self.prompt_ids)

    @property
    def room(self) -> tuple[int, bool]:
        return len(self.prompt_ids) - self.prefix.length + min(self.most, RESERVED), False

    @property
    def continuation(self) -> Continuation:
        counts = len(self.prompt_ids), self.prefix.length
        return Continuation(self.text, len(self.ids), self.finished, *counts, self.tokens, self.prompt_tokens)

    def next(self, most: int, whole: int) -> Feed | None:
        if self.writing:
            return Feed([self.ids[-1]], [self.fed], [0], kept=True)
        asked = self.call.prompt_logprobs
        end = min(self.fed + (min(most, DESCRIBED) if asked else most), len(self.prompt_ids))
        tokens, positions = self.prompt_ids[self.fed : end], list(range(self.fed, end))
        last = [len(tokens) - 1] if end == len(self.prompt_ids) else []
        kept = self.most > 0 or not last
        self._ahead = end
        return Feed(tokens, positions, list(range(len(tokens))) if asked else last, kept)

    def receive(self, logits_WV: torch.Tensor) -> None:
        if self.writing:
            self.count(1, self.fed, prompt=False)
            self.fed += 1
        else:
            self._read(logits_WV)
        if self.writing and not self.finished and len(self.ids) < self.most:
            self._write(logits_WV[-1])

    def _read(self, logits_WV: torch.Tensor) -> None:
        self.count(self._ahead - self.fed, self.fed)
        if self.call.prompt_logprobs:
            following = self.prompt_ids[self.fed + 1 : self._ahead + 1]
            self.prompt_tokens.extend(
                described(self.loaded.vocabulary, logits_V, token, self.call.top_logprobs)
                for logits_V, token in zip(logits_WV, following, strict=False)
            )
        self.fed = self._ahead

    def _write(self, logits_V: torch.Tensor) -> None:
        call, allowed = self.call, self.schema.allow(logits_V, self._ends) if self.schema else logits_V
        token = pick(allowed, call.temperature, call.top_p, self.stream)
        if call.logprobs:
            self.tokens.append(described(self.loaded.vocabulary, logits_V, token, call.top_logprobs))
        self.spent.generated_tokens += 1
        self._append(token)
        if self.schema and not self.finished:
            self.schema.took(token)
            if self.schema.complete:
                self.finished = True
                self._end()

    def _append(self, token: int) -> None:
        """A token that ends the text counts as written, for it was computed, but is no text."""
        self.ids.append(token)
        self.finished = token in self._ends
        if not self.finished:
            self._detokenised.add(token)
        if self.finished or len(self.ids) >= self.most:
            self._detokenised.end()
        self.text = self._detokenised.text
        for stop in self.call.stop:
            at = self.text.find(stop)
            if at >= 0:
                self.text, self.finished = self.text[:at], True

    def _end(self) -> None:
        self._detokenised.end()
        self.text = self._detokenised.text

    @torch.inference_mode()
    def alone(self) -> None:
        """A step with the model's own cache."""
        asked = self.call.prompt_logprobs and not self.writing
        new = [self.ids[-1]] if self.writing else self.prompt_ids
        output = self.loaded.model(
            input_ids=torch.tensor([new], device=self.loaded.model.device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=0 if asked else 1,
        )
        self._cache, self._ahead = output.past_key_values, len(self.prompt_ids)
        self.receive(output.logits[0].float())


def start(loaded: LoadedModel, call: GenerateCall, prompts: list[list[int]], spent: Spent) -> list[Writing]:
    """The window may leave fewer than `max_tokens`: the text then ends by length."""
    writings = []
    for ids, seed in zip(prompts, stream_seeds(call.seed, call.prompts), strict=True):
        writings.append(
            Writing(
                loaded,
                spent,
                call=call,
                prompt_ids=ids,
                stream=torch.Generator().manual_seed(seed),
                most=min(call.max_tokens, loaded.ref.context_window - len(ids)),
                schema=loaded.schemas.follow(call.json_schema) if call.json_schema else None,
            )
        )
    return writings
