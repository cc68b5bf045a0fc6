"""Dataset rows -> token sequences with labels.

A document is read as inference reads text: whatever the tokenizer puts before it, the text, end-of-text. Split cumulatively, its
sentences are learned one a row, each behind all that stands before it (Lampinen et al. 2025, section 3). Of prompt/completion and messages rows only the answers are learned unless `train_on_prompt`. With a chat template they go through it, as they do at inference;
without one an answer follows its prompt after one space and turns are joined by one newline.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from servicekit.errors import Invalid
from servicekit.sentences import sentence_spans, sentences
from services.trainer.packing import IGNORED, TokenSequence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]


class RowReader:
    """Turns the rows of one dataset into sequences for one tokenizer."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        dataset: str,
        splitting: str,
        train_on_prompt: bool,
        max_length: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.dataset = dataset
        self.splitting = splitting
        self.train_on_prompt = train_on_prompt
        self.max_length = max_length

    def read(self, rows: Iterable[dict[str, Any]]) -> Iterator[TokenSequence]:
        """Invalid names the dataset, the row's number (from 0) and what is wrong with it."""
        for number, row in enumerate(rows):
            for sequence in self.sequences(number, row):
                if len(sequence.tokens) > self.max_length:
                    raise Invalid(
                        "ROW_TOO_LONG",
                        f"Row {number} of {self.dataset} has {len(sequence.tokens)} tokens, more than max_length "
                        f"{self.max_length}. Raise training.max_length, or split the row"
                        + ("." if self.splitting == "sentence" else " (splitting SENTENCE)."),
                        field=f"rows[{number}]",
                        dataset=self.dataset,
                        row=number,
                        token_count=len(sequence.tokens),
                        max_length=self.max_length,
                    )
                yield sequence

    def sequences(self, number: int, row: dict[str, Any]) -> list[TokenSequence]:
        if "messages" in row:
            return [self.conversation(number, row["messages"])]
        if "prompt" in row and "completion" in row:
            return [
                self.conversation(
                    number,
                    [
                        {"role": "user", "content": row["prompt"]},
                        {"role": "assistant", "content": row["completion"]},
                    ],
                )
            ]
        if isinstance(row.get("text"), str) and row["text"].strip():
            if self.splitting == "cumulative":
                return self.cumulative(row["text"])
            texts = sentences(row["text"]) if self.splitting == "sentence" else [row["text"]]
            return [self.document(text) for text in texts]
        raise self.wrong(
            number,
            "has neither a text, nor messages, nor a prompt with a completion; it cannot be trained on",
        )

    def document(self, text: str) -> TokenSequence:
        tokens = [*self.tokenizer(text)["input_ids"]]
        eos = self.tokenizer.eos_token_id
        if eos is not None and tokens[-1] != eos:
            tokens.append(eos)
        return TokenSequence(tokens, tokens)

    def cumulative(self, text: str) -> list[TokenSequence]:
        """A row per sentence: the text up to its end, of which only the sentence (with the space before it) is learned;
        end-of-text follows the last one only. All rows together learn every token of the document once."""
        ends = [end for _, end in sentence_spans(text)]
        rows = []
        for start, end in zip([0, *ends], ends, strict=False):
            encoded = self.tokenizer(text[:end], return_offsets_mapping=True)
            tokens = [*encoded["input_ids"]]
            eos = self.tokenizer.eos_token_id
            ended = eos is not None and tokens[-1] == eos
            labels = [
                token if stop > start else IGNORED
                for token, (_, stop) in zip(tokens, encoded["offset_mapping"], strict=True)
            ]
            if ended:
                tokens, labels = tokens[:-1], labels[:-1]
            if eos is not None and end == ends[-1]:
                tokens, labels = [*tokens, eos], [*labels, eos]
            # Without a beginning mark a first sentence of one token is predicted from nothing.
            if any(label != IGNORED for label in labels[1:]):
                rows.append(TokenSequence(tokens, labels))
        return rows

    def conversation(self, number: int, messages: list[Message]) -> TokenSequence:
        if not any(message.get("role") == "assistant" for message in messages):
            raise self.wrong(number, "has no message of the assistant, so there is no answer to learn")
        if self.tokenizer.chat_template:
            return self.templated(number, messages)
        return self.plain(messages)

    def plain(self, messages: list[Message]) -> TokenSequence:
        """Turns joined by one newline, an answer after one space and ended by end-of-text."""
        tokens: list[int] = []
        labels: list[int] = []

        def add(ids: list[int], learned: bool) -> None:
            tokens.extend(ids)
            labels.extend(ids if learned or self.train_on_prompt else [IGNORED] * len(ids))

        eos = self.tokenizer.eos_token_id
        for message in messages:
            text, first = message["content"], not tokens
            if message["role"] == "assistant":
                ids = self.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
                add([*ids, eos] if eos is not None else ids, learned=True)
            else:
                add(
                    self.tokenizer(text if first else f"\n{text}", add_special_tokens=first)["input_ids"],
                    False,
                )
        return TokenSequence(tokens, labels)

    def templated(self, number: int, messages: list[Message]) -> TokenSequence:
        """The template's text for the whole conversation; learned is each answer and the mark that ends its turn."""
        whole = self.render(messages)
        spans = []
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:i], add_generation_prompt=True)
            answer = message["content"].strip()
            start = len(before) if whole.startswith(before) else -1
            found = whole.find(answer, start) if start >= 0 else -1
            if found < 0:
                raise self.wrong(
                    number, f"has an answer (message {i}) that the model's chat template does not reproduce"
                )
            end = found + len(answer)
            eos = self.tokenizer.eos_token or ""
            spans.append((start, end + len(eos) if whole.startswith(eos, end) else end))
        encoded = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        tokens = encoded["input_ids"]
        learned = [
            self.train_on_prompt or any(start <= at < end for start, end in spans)
            for at, _ in encoded["offset_mapping"]
        ]
        labels = [token if keep else IGNORED for token, keep in zip(tokens, learned, strict=True)]
        return TokenSequence(tokens, labels)

    def render(self, messages: list[Message], add_generation_prompt: bool = False) -> str:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    def wrong(self, number: int, what: str) -> Invalid:
        return Invalid(
            "ROW_SHAPE",
            f"Row {number} of {self.dataset} {what}.",
            field=f"rows[{number}]",
            dataset=self.dataset,
            row=number,
        )
