"""Logits -> a token, and how likely it and others were. V: vocabulary."""

import torch

from services.inference.wire import Token, TopToken


def pick(logits_V: torch.Tensor, temperature: float, top_p: float, stream: torch.Generator) -> int:
    """Greedy at temperature 0; else from the smallest set of tokens that holds `top_p` of the probability."""
    if temperature == 0:
        return int(logits_V.argmax())
    probabilities_V = (logits_V.double() / temperature).softmax(-1)
    if 0 < top_p < 1:
        sorted_V, order_V = probabilities_V.sort(descending=True)
        outside_V = sorted_V.cumsum(0) - sorted_V >= top_p
        probabilities_V[order_V[outside_V]] = 0.0
    return int(torch.multinomial(probabilities_V.cpu(), 1, generator=stream))


def described(vocabulary: "Vocabulary", logits_V: torch.Tensor, token: int, top: int) -> Token:
    """With the `top` likeliest tokens at its place."""
    logprobs_V = logits_V.float().log_softmax(-1)
    found = logprobs_V.topk(min(top, logprobs_V.shape[-1])) if top else None
    others = (
        [
            TopToken(other, vocabulary.bytes_of(other), logprob)
            for other, logprob in zip(found.indices.tolist(), found.values.tolist(), strict=True)
        ]
        if found
        else []
    )
    return Token(token, vocabulary.bytes_of(token), float(logprobs_V[token]), others)


class Vocabulary:
    """The bytes that tokens stand for."""

    def __init__(self, tokenizer: object) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}

    def bytes_of(self, token: int) -> bytes:
        if token not in self._known:
            self._known[token] = self._look_up(token)
        return self._known[token]

    def _look_up(self, token: int) -> bytes:
        """Byte-level vocabularies spell each byte as a letter of their own; others mark spaces and bytes."""
        tokenizer: object = self._tokenizer
        piece = tokenizer.convert_ids_to_tokens(token)  # type: ignore[attr-defined]
        if piece is None:
            return b""
        if piece in getattr(tokenizer, "all_special_tokens", []):
            return str(piece).encode()
        if all(letter in BYTE_OF_LETTER for letter in piece) and _byte_level(tokenizer):
            return bytes(BYTE_OF_LETTER[letter] for letter in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return str(piece).replace("\u2581", " ").encode()


def _byte_level(tokenizer: object) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in str(backend.decoder)


def _letters() -> dict[str, int]:
    """The letters that GPT-2's byte-level vocabularies spell bytes with: printable ones stand for themselves, the others follow
    from 256 on in order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF_LETTER = _letters()
