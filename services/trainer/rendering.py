"""Dataset rows -> texts as models read them, with the spans that are learned.

A document is read as inference reads text. Split cumulatively, its sentences are learned one a row, each behind all that stands
before it (Lampinen et al. 2025, section 3). Of prompt/completion and messages rows only the answers are learned unless
`train_on_prompt`. With a chat template they go through it, as they do at inference; without one an answer follows its prompt after one
space, unless there is white space already, and turns are joined by one newline. Prompt and answer are tokenised as one text, as at inference.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from servicekit.errors import Invalid
from servicekit.sentences import sentence_spans, sentences

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is tokenised as one."""

    text: str
    learned: tuple[Span, ...] | None  # in characters; None: all of it
    marks: bool = True  # whether the tokenizer puts its own marks around it
    closed: bool = False  # whether end-of-text follows, which is learned


Draft = list[Piece]  # one training row


class Renderer:
    """Of one dataset's rows for one tokenizer."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", *, dataset: str, splitting: str, train_on_prompt: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.dataset = dataset
        self.splitting = splitting
        self.train_on_prompt = train_on_prompt

    def drafts(self, number: int, row: dict[str, Any]) -> list[Draft]:
        """The training rows of row `number` (from 0); Invalid says what is wrong with it."""
        if messages := messages_of(row):
            return [self.conversation(number, messages)]
        if isinstance(row.get("text"), str) and row["text"].strip():
            if self.splitting == "cumulative":
                return cumulative(row["text"])
            texts = sentences(row["text"]) if self.splitting == "sentence" else [row["text"]]
            return [[Piece(text, None, closed=True)] for text in texts]
        raise self.wrong(
            number,
            "has neither a text, nor messages, nor a prompt with a completion; it cannot be trained on",
        )

    def conversation(self, number: int, messages: list[Message], documents: str = "") -> Draft:
        """As inference reads it with those documents in context; only answers are learned where there are some."""
        if not any(message.get("role") == "assistant" for message in messages):
            raise self.wrong(number, "has no message of the assistant, so there is no answer to learn")
        if self.tokenizer.chat_template:
            return [self.templated(number, with_documents(messages, documents))]
        return self.plain(messages, documents)

    def plain(self, messages: list[Message], documents: str) -> Draft:
        """Turns joined by one newline, an answer after one space and ended by end-of-text; a piece ends with each answer."""
        draft: Draft = []
        text = f"{documents}\n\n" if documents else ""
        begun = False  # whether a turn stands before
        for message in messages:
            said = message["content"]
            if message["role"] != "assistant":
                text += f"\n{said}" if begun else said
            else:
                learned = len(text)
                text += said if text[-1:].isspace() or said[:1].isspace() else f" {said}"
                draft.append(self.piece(text, ((learned, len(text)),), marks=not draft, closed=True))
                text = ""
            begun = True
        if text:
            draft.append(self.piece(text, (), marks=not draft))
        return draft

    def templated(self, number: int, messages: list[Message]) -> Piece:
        """The template's text for the whole conversation; learned is each answer and the mark that ends its turn."""
        whole = self.render(number, messages)
        spans = []
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(number, messages[:i], add_generation_prompt=True)
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
        return self.piece(whole, tuple(spans), marks=False)

    def piece(self, text: str, learned: tuple[Span, ...], *, marks: bool, closed: bool = False) -> Piece:
        return Piece(text, None if self.train_on_prompt else learned, marks, closed)

    def render(self, number: int, messages: list[Message], add_generation_prompt: bool = False) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=add_generation_prompt
                )
            )
        except TemplateError as error:
            raise self.wrong(number, f"is refused by the model's chat template: {error}") from None

    def wrong(self, number: int, what: str, reason: str = "ROW_SHAPE") -> Invalid:
        return Invalid(
            reason,
            f"Row {number} of {self.dataset} {what}.",
            field=f"rows[{number}]",
            dataset=self.dataset,
            row=number,
        )


def messages_of(row: dict[str, Any]) -> list[Message]:
    """Of a row with answers; empty for others."""
    if "messages" in row:
        return list(row["messages"])
    if "prompt" in row and "completion" in row:
        return [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
    return []


def with_documents(messages: list[Message], documents: str) -> list[Message]:
    """Before the first message of the user, as inference puts a context."""
    if not documents:
        return messages
    first = next(n for n, message in enumerate(messages) if message["role"] == "user")
    asked = {**messages[first], "content": f"{documents}\n\n{messages[first]['content']}"}
    return [*messages[:first], asked, *messages[first + 1 :]]


def cumulative(text: str) -> list[Draft]:
    """A row per sentence: the text up to its end, of which only the sentence (with the space before it) is learned; end-of-text
    follows the last one only. All rows together learn every token of the document once."""
    ends = [end for _, end in sentence_spans(text)]
    return [
        [Piece(text[:end], ((start, end),), closed=end == ends[-1])]
        for start, end in zip([0, *ends], ends, strict=False)
    ]
