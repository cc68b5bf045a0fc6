"""Log-probabilities in OpenAI's two forms: of completions, four lists side by side; of chat, one object for each token."""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from ingrain.v1 import inference_pb2 as pb


class Completed:
    """Lists for `text`, token by token. `text_offset` counts characters from the beginning of the choice's text."""

    def __init__(self, position: int = 0) -> None:
        self._position = position
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lists: dict[str, list[Any]] = _empty()

    def read(self, text: str, tokens: Iterable[pb.TokenLogprob]) -> None:
        """The prompt's tokens. Marks that the tokenizer puts in front have a token and no place in the text."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        position = 0
        for token in tokens:
            self._add(token, position)
            piece = decoder.decode(token.token)
            if not text.startswith(piece, position):
                piece = piece.removeprefix(" ")  # some vocabularies begin each text with a space
            if text.startswith(piece, position):
                position += len(piece)
        self._position = len(text)

    def write(self, tokens: Iterable[pb.TokenLogprob]) -> None:
        for token in tokens:
            self._add(token, self._position)
            self._position += len(self._decoder.decode(token.token))

    def take(self) -> dict[str, list[Any]]:
        """What was added since the last time."""
        taken, self._lists = self._lists, _empty()
        return taken

    def _add(self, token: pb.TokenLogprob, position: int) -> None:
        known = token.HasField("logprob")
        self._lists["tokens"].append(spelled(token.token, "bytes:"))
        self._lists["token_logprobs"].append(token.logprob if known else None)
        self._lists["top_logprobs"].append(_likeliest(token) if known else None)
        self._lists["text_offset"].append(position)


def _empty() -> dict[str, list[Any]]:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def _likeliest(token: pb.TokenLogprob) -> dict[str, float]:
    """The likeliest tokens and the one that stands there, which may be none of them."""
    found: dict[str, float] = {}
    for other in (*token.top, token):
        found.setdefault(spelled(other.token, "bytes:"), other.logprob)
    return found


def of_chat(tokens: Sequence[pb.TokenLogprob]) -> dict[str, Any]:
    content = [
        _described(token) | {"top_logprobs": [_described(one) for one in token.top]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def _described(token: pb.TokenLogprob | pb.TopLogprob) -> dict[str, Any]:
    return {"token": spelled(token.token), "logprob": token.logprob, "bytes": list(token.token)}


def spelled(token: bytes, mark: str = "") -> str:
    """Its text; a part of a character by its bytes, as in `bytes:\\xe2\\x80`."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return mark + "".join(f"\\x{byte:02x}" for byte in token)
