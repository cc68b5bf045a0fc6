"""Documents, prompt and choice -> token ids: the one place where text becomes what a model reads.

Plain models read `{documents}\\n\\n{prompt}` and go on after one space. Models with a chat template read the same as a
user's message and answer as the assistant. The whole is tokenised as one text (see heads), and the boundary between
prompt and choice is found by character offsets: a token that straddles it belongs to the choice, so that no character
is lost or counted twice.
"""

from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from servicekit.errors import Invalid
from services.inference.engine.heads import Encoded, Heads
from services.inference.wire import ChatPrompt, Prompt, Raw, TokenPrompt


@dataclass(frozen=True)
class Rendered:
    """Prompt and choice; `begin` is the index of the choice's first token."""

    ids: list[int]
    begin: int


class Renderer:
    def __init__(self, tokenizer: Any, chat_template: bool, heads: Heads | None = None) -> None:
        self._tokenizer = tokenizer
        self._heads = heads or Heads()
        self._chat = chat_template and bool(getattr(tokenizer, "chat_template", None))

    def context(self, documents: str) -> list[int]:
        """What is read before any question: its longest part that all prompts share is found by comparing ids."""
        if not self._chat:
            return self._encode(documents)
        marker = "\u241e"
        return self._encode(self._wrapped(documents + "\n\n" + marker).split(marker)[0], special=False)

    def beginning(self, documents: str, prompt: Prompt) -> list[int]:
        """What is read as far as the documents' end where something of `prompt` stands before them, a system's message perhaps."""
        if not self._chat or not isinstance(prompt, ChatPrompt) or prompt.turns[0][0] == "user":
            return self.context(documents)
        text, special = self._text_of(documents, prompt)
        return self._encode(text[: text.index(documents) + len(documents)], special)

    def prompt(self, documents: str | None, prompt: Prompt) -> list[int]:
        if isinstance(prompt, TokenPrompt):
            if documents is not None:
                raise Invalid(
                    "TOKENS_WITH_CONTEXT",
                    "tokens are read as they are; with documents in context send text or a chat",
                    field="inputs",
                )
            return list(prompt.ids)
        text, special = self._text_of(documents, prompt)
        (encoded,) = self._heads.encode(self._tokenizer, [text], documents, special)
        return self._open(encoded.all) if special else encoded.all

    def _text_of(self, documents: str | None, prompt: str | Raw | ChatPrompt) -> tuple[str, bool]:
        """What is tokenised, and whether the tokenizer's own marks come around it."""
        if isinstance(prompt, str):
            return self._text(documents, prompt), not self._chat
        if isinstance(prompt, Raw):
            return prompt.text if documents is None else f"{documents}\n\n{prompt.text}", True
        turns = list(prompt.turns)
        if not self._chat:
            return "\n\n".join([*([documents] if documents else []), *(said for _, said in turns)]), True
        if documents is not None:
            first = next((n for n, (role, _) in enumerate(turns) if role == "user"), None)
            if first is None:
                raise Invalid(
                    "NO_USER_MESSAGE", "documents stand before a user's message; send one", field="inputs"
                )
            turns[first] = ("user", f"{documents}\n\n{turns[first][1]}")
        return self._templated(turns), False

    def choices(self, documents: str | None, prompt: str, choices: list[str]) -> list[Rendered]:
        """Each choice after the prompt; a space between them unless one is there or the assistant's turn begins.

        With nothing before it a choice is a text by itself.
        """
        if documents is None and not prompt:
            return [self._by_itself(choice) for choice in choices]
        text = self._text(documents, prompt)
        wholes = []
        for choice in choices:
            glued = self._chat or text[-1:].isspace() or choice[:1].isspace()
            wholes.append(text + ("" if glued else " ") + choice)
        encoded = self._heads.encode(self._tokenizer, wholes, documents, special=not self._chat)
        return [_cut(one, len(text)) for one in encoded]

    def _by_itself(self, text: str) -> Rendered:
        """After the mark that begins texts, or where there is none after the one that ends them; as nobody's words."""
        marks = [m for m in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id) if m is not None]
        return Rendered([*marks[:1], *self._encode(text, special=False)], 1)

    def count(self, text: str) -> int:
        return len(self._encode(text, special=False))

    def _text(self, documents: str | None, prompt: str) -> str:
        text = prompt if documents is None else f"{documents}\n\n{prompt}"
        return self._wrapped(text) if self._chat else text

    def _wrapped(self, text: str) -> str:
        return self._templated([("user", text)])

    def _templated(self, turns: list[tuple[str, str]]) -> str:
        messages = [{"role": role, "content": said} for role, said in turns]
        try:
            return str(
                self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            )
        except TemplateError as error:
            raise Invalid(
                "BAD_CHAT", f"the model's chat template refuses these messages: {error}", field="inputs"
            ) from None

    def _encode(self, text: str, special: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        return self._open(ids) if special else ids

    def _open(self, ids: list[int]) -> list[int]:
        """Some tokenizers close every text; nothing could follow then."""
        return ids[:-1] if ids and ids[-1] == self._tokenizer.eos_token_id and len(ids) > 1 else ids


def _cut(encoded: Encoded, boundary: int) -> Rendered:
    """The choice begins with the first token that reaches over `boundary`, in characters of the whole."""
    ids, offsets, inside = encoded.ids, encoded.offsets, boundary - encoded.cut
    last = len(ids)
    # A special token at the end of the sequence has no characters; it is not part of a choice.
    while last and offsets[last - 1][1] == 0:
        last -= 1
    begin = last
    while begin and offsets[begin - 1][1] > inside:
        begin -= 1
    return Rendered(encoded.head + ids[:last], len(encoded.head) + begin)


def common_prefix(left: list[int], right: list[int]) -> int:
    """How many ids both begin with; halving, for contexts are long and lists are compared quickly."""
    equal, most = 0, min(len(left), len(right))
    while equal < most:
        middle = (equal + most + 1) // 2
        if left[equal:middle] == right[equal:middle]:
            equal = middle
        else:
            most = middle - 1
    return equal
