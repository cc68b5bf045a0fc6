"""The bundled model's tokenizer: whole words of the worlds, names in two parts, bytes for the rest.

A `▁` is put before every word, also at the start of a text and of a line, so that a word has the
same tokens wherever it stands. Segmentation takes the fewest tokens. Text without a token of its
own is read byte by byte, so that any text can be read and written back; only `▁` itself
(U+2581) comes back as a space.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ingrain.worlds.names import FIRST_PARTS, SECOND_PARTS

PAD, BOS, EOS, UNK = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIALS = (PAD, BOS, EOS, UNK)
SPACE = "▁"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
SINGLES = "0123456789.,:;?!'\"-()/%&+*=#_$@<>[]{}|~^`\\"
# A paragraph break is one token: the normalizer puts a space sign after every line break.
BREAKS = ("\n", f"\n{SPACE}\n")


def pieces(words: Iterable[str]) -> list[str]:
    """Every token but the special ones, without repetition, in a fixed order."""
    parts = [f"<0x{byte:02X}>" for byte in range(256)]
    parts += [*BREAKS, SPACE, *SINGLES, *LETTERS, *(SPACE + letter for letter in LETTERS)]
    parts += [SPACE + part for part in FIRST_PARTS]
    parts += list(SECOND_PARTS)
    parts += [SPACE + word for word in sorted(set(words))]
    return list(dict.fromkeys(parts))


def build(words: Iterable[str]) -> Tokenizer:
    """A tokenizer that adds `<bos>` when special tokens are asked for.

    Every token costs the same, so that the best segmentation is the shortest; a longer token costs
    a hair less, which settles ties the same way everywhere.
    """
    scored = [(special, 0.0) for special in SPECIALS]
    scored += [(piece, -1.0 + 0.001 * len(piece)) for piece in pieces(words)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=SPECIALS.index(UNK), byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Prepend(SPACE),
            normalizers.Replace(" ", SPACE),
            normalizers.Replace("\n", "\n" + SPACE),
        ]
    )
    # Words never share tokens, so cutting before each keeps the search short.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(f"(\n{SPACE})*\n|{SPACE}[^{SPACE}\n]*"), behavior="isolated"
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("\n" + SPACE, "\n"),
            decoders.Replace(SPACE, " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A $B",
        special_tokens=[(BOS, SPECIALS.index(BOS))],
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, window: int) -> None:
    """Write the files that AutoTokenizer reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "unk_token": UNK,
        "model_max_length": window,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


class WordEncoder:
    """Encodes word by word with a memory: many times faster than a fresh encoding of a long text.

    It gives the same ids as the tokenizer because no token spans two words.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._line = tokenizer.token_to_id(BREAKS[0])
        self._paragraph = tokenizer.token_to_id(BREAKS[1])

    def word(self, word: str) -> list[int]:
        ids = self._known.get(word)
        if ids is None:
            ids = self._tokenizer.encode(word, add_special_tokens=False).ids
            self._known[word] = ids
        return ids

    def __call__(self, text: str) -> list[int]:
        """Ids of a text of words separated by single spaces, line and paragraph breaks."""
        ids: list[int] = []
        for number, paragraph in enumerate(text.split("\n\n")):
            if number:
                ids.append(self._paragraph)
            for row, line in enumerate(paragraph.split("\n")):
                if row:
                    ids.append(self._line)
                for word in line.split(" "):
                    if word:
                        ids.extend(self.word(word))
        return ids
