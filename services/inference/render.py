"""Documents, prompt and choice -> token ids: the one place where text becomes what a model reads.

Plain models read `{documents}\\n\\n{prompt}` and go on after one space. Models with a chat template read the same as a
user's message and answer as the assistant. The whole is tokenised at once, and the boundary between prompt and choice
is found by character offsets: a token that straddles it belongs to the choice, so that no character is lost or counted
twice.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rendered:
    """`begin` is the index of the first token of the choice (of the end, where there is none)."""

    ids: list[int]
    begin: int


class Renderer:
    def __init__(self, tokenizer: Any, chat_template: bool) -> None:
        self._tokenizer = tokenizer
        self._chat = chat_template and bool(getattr(tokenizer, "chat_template", None))

    def context(self, documents: str) -> list[int]:
        """What is read before any question: its longest part that all prompts share is found by comparing ids."""
        if not self._chat:
            return self._encode(documents)
        marker = "\u241e"
        return self._encode(self._wrapped(documents + "\n\n" + marker).split(marker)[0], special=False)

    def prompt(self, documents: str | None, prompt: str) -> Rendered:
        ids = self._encode(self._text(documents, prompt), special=not self._chat)
        return Rendered(ids, len(ids))

    def choices(self, documents: str | None, prompt: str, choices: list[str]) -> list[Rendered]:
        """Each choice after the prompt; a space between them unless one is there or the assistant's turn begins."""
        text = self._text(documents, prompt)
        rendered = []
        for choice in choices:
            glued = self._chat or text[-1:].isspace() or choice[:1].isspace()
            whole = text + ("" if glued else " ") + choice
            encoded = self._tokenizer(whole, add_special_tokens=not self._chat, return_offsets_mapping=True)
            ends = [end for _, end in encoded["offset_mapping"]]
            begin = next((index for index, end in enumerate(ends) if end > len(text)), len(ends))
            # A special token at the end of the sequence has no characters; it is not part of a choice.
            last = max(index for index, end in enumerate(ends) if end > 0) + 1
            rendered.append(Rendered(encoded["input_ids"][:last], begin))
        return rendered

    def count(self, text: str) -> int:
        return len(self._encode(text, special=False))

    def _text(self, documents: str | None, prompt: str) -> str:
        text = prompt if documents is None else f"{documents}\n\n{prompt}"
        return self._wrapped(text) if self._chat else text

    def _wrapped(self, text: str) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
        )

    def _encode(self, text: str, special: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        # Some tokenizers close every text; nothing could follow then.
        if special and ids and ids[-1] == self._tokenizer.eos_token_id and len(ids) > 1:
            ids = ids[:-1]
        return ids


def common_prefix(left: list[int], right: list[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))
