"""Token ids -> text, a token at a time. What was given once stays: a stream's pieces join to the whole text.

A token is decoded together with those just before it, for tokenizers drop a first space of what they decode alone,
and one character may take several tokens: it is given when it is whole.
"""

from typing import Any

TAIL = 4  # tokens of the prompt that the first new one is decoded with
_UNFINISHED = "\ufffd"  # what tokenizers show for a part of a character


class Text:
    def __init__(self, tokenizer: Any, prompt_ids: list[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = prompt_ids[-TAIL:]
        self._begin, self._given = 0, len(self._ids)  # ids[_begin:_given] go before those not given yet
        self.text = ""

    def add(self, token: int) -> None:
        self._ids.append(token)
        before, whole = (
            self._decode(self._ids[self._begin : self._given]),
            self._decode(self._ids[self._begin :]),
        )
        if len(whole) > len(before) and not whole.endswith(_UNFINISHED):
            self.text += whole[len(before) :]
            self._begin, self._given = self._given, len(self._ids)

    def end(self) -> None:
        """Gives what was waited with; a character that was never finished is dropped."""
        before, whole = (
            self._decode(self._ids[self._begin : self._given]),
            self._decode(self._ids[self._begin :]),
        )
        self.text += whole.rstrip(_UNFINISHED)[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
