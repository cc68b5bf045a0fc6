"""What the teacher of a context distillation reads: the documents once, and behind them each training row's prompt and answers.

The documents are joined and stand before the prompt as inference's contexts do. Rows of a replay dataset have a teacher without documents:
of them the student keeps what the base model says. (Legend: G beginnings that rows share, N rows, X tokens of all rows, T targets.)

    prefix_P       tokens of the beginnings, one behind the other
    prefix_end_G   where each ends
    group_N        the beginning of each row
    suffix_X       tokens of the rows behind their beginnings
    suffix_end_N   where each row ends
    target_X       the number of the target that this token is, predicted from what stands before it; -1 where it is none
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from servicekit.errors import Invalid
from services.trainer.encoding import encode
from services.trainer.packing import IGNORED, TokenSequence
from services.trainer.rendering import Draft, Piece, Renderer, messages_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_ROWS = 1000  # that are tokenised at once
LEFT = 64  # characters of the documents, at least, that are tokenised with each row


@dataclass(frozen=True)
class Lesson:
    """A row as the teacher reads it: tokens of the documents that were tokenised apart, and the rest."""

    head: tuple[int, ...]
    rest: TokenSequence
    reads_documents: bool = True


class Classroom:
    """Documents, and the rows that are taught with them in mind."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", documents: str) -> None:
        self.tokenizer = tokenizer
        self.documents = documents
        self.heads: dict[str, tuple[int, ...]] = {}  # by text; empty where it cannot be tokenised by itself
        self.lessons: list[Lesson] = []
        self.target_count = 0
        self.longest = (0, "")  # tokens of a row with its documents, and its name

    def take(
        self, renderer: Renderer, rows: Mapping[int, dict[str, Any]], sequences: Sequence[TokenSequence]
    ) -> list[TokenSequence]:
        """The student's sequences of a dataset's rows, by number, with the places of their targets. Invalid where a row has no answer."""
        taken: list[TokenSequence] = []
        for start in range(0, len(sequences), BATCH_ROWS):
            taken += self.take_batch(renderer, rows, sequences[start : start + BATCH_ROWS])
        return taken

    def take_batch(
        self, renderer: Renderer, rows: Mapping[int, dict[str, Any]], sequences: Sequence[TokenSequence]
    ) -> list[TokenSequence]:
        drafts = [self.draft(renderer, sequence.row, rows[sequence.row]) for sequence in sequences]
        heads = [self.head(draft) for draft in drafts]
        rests = encode(self.tokenizer, [rest_of(*both) for both in zip(drafts, heads, strict=True)])
        taken = []
        for sequence, head, rest in zip(sequences, heads, rests, strict=True):
            learned = targets(sequence)
            if targets(rest)[: len(learned)] != learned:
                raise renderer.wrong(
                    sequence.row,
                    "has an answer with other tokens behind the documents than without them; leave it out",
                    "ANSWER_RETOKENISED",
                )
            name = f"row {sequence.row} of {renderer.dataset}"
            taken.append(
                self.add(sequence, Lesson(self.heads.get(head, ()), first_targets(rest, len(learned))), name)
            )
        return taken

    def take_alone(self, dataset: str, sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
        """Sequences whose teacher reads no documents."""
        return [
            self.add(
                sequence,
                Lesson((), first_targets(sequence, len(sequence.tokens)), reads_documents=False),
                f"row {sequence.row} of {dataset}",
            )
            for sequence in sequences
        ]

    def add(self, sequence: TokenSequence, lesson: Lesson, name: str) -> TokenSequence:
        length = len(lesson.head) + len(lesson.rest.tokens)
        self.longest = max(self.longest, (length, name))
        self.lessons.append(lesson)
        first = self.target_count
        self.target_count += len(targets(sequence))
        return replace(sequence, first_target=first)

    def draft(self, renderer: Renderer, number: int, row: dict[str, Any]) -> Draft:
        messages = messages_of(row)
        if not messages:
            raise renderer.wrong(
                number, "has no answer; context distillation needs prompts with answers", "NO_ANSWER"
            )
        if renderer.tokenizer.chat_template and all(message["role"] != "user" for message in messages):
            raise renderer.wrong(
                number,
                "has no message of the user, before which the documents would stand",
                "NO_USER_MESSAGE",
            )
        return renderer.conversation(number, messages, self.documents)

    def head(self, draft: Draft) -> str:
        """The part of the draft's text that is tokenised once for all rows; empty where there is none."""
        text = draft[0].text
        head = text[: cut_of(self.documents, text)]
        if head and head not in self.heads:
            self.heads[head] = self.checked_head(draft[0], head)
        return head if self.heads.get(head) else ""

    def checked_head(self, piece: Piece, head: str) -> tuple[int, ...]:
        """Its tokens, where they and those of what follows are together the tokens of the whole."""
        whole = Piece(piece.text, ((len(head), len(piece.text)),), piece.marks)
        rest = Piece(piece.text[len(head) :], None, marks=False)
        (all_of_it,), (apart,) = encode(self.tokenizer, [[whole]]), encode(self.tokenizer, [[rest]])
        count = len(all_of_it.tokens) - len(apart.tokens)
        same = count > 0 and list(all_of_it.tokens[count:]) == list(apart.tokens)
        clean = same and targets(all_of_it) == list(apart.tokens)
        return tuple(all_of_it.tokens[:count]) if clean else ()

    def refuse_over(self, window: int) -> None:
        length, name = self.longest
        if not window or length <= window:
            return
        (documents,) = encode(self.tokenizer, [[Piece(self.documents, None, marks=False)]])
        raise Invalid(
            "DOCUMENTS_OVER_WINDOW",
            f"The documents of distillation have {len(documents.tokens)} tokens and {name} has {length} with them, more than the "
            f"model's window of {window}. Name fewer documents, or shorten the row.",
            field="training.distillation.dataset",
            document_token_count=len(documents.tokens),
            token_count=length,
            context_window=window,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """As described above; rows in the order in which they were taken."""
        members: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
        for n, lesson in enumerate(self.lessons):
            members.setdefault((lesson.reads_documents, lesson.head), []).append(n)
        prefixes: list[tuple[int, ...]] = []
        group_N = np.zeros(len(self.lessons), np.int32)
        shared_N = [0] * len(self.lessons)
        for (reads_documents, head), rows in members.items():
            shared = shared_length([self.lessons[n].rest for n in rows]) if reads_documents else 0
            group_N[rows] = len(prefixes)
            for n in rows:
                shared_N[n] = shared
            prefixes.append((*head, *self.lessons[rows[0]].rest.tokens[:shared]))
        suffixes = [
            lesson.rest.tokens[shared:] for lesson, shared in zip(self.lessons, shared_N, strict=True)
        ]
        labels = np.concatenate(
            [
                np.array(lesson.rest.labels[shared:])
                for lesson, shared in zip(self.lessons, shared_N, strict=True)
            ]
        )
        return {
            "prefix_P": np.array([token for prefix in prefixes for token in prefix], np.int32),
            "prefix_end_G": np.cumsum([len(prefix) for prefix in prefixes]).astype(np.int32),
            "group_N": group_N,
            "suffix_X": np.concatenate([np.array(suffix) for suffix in suffixes]).astype(np.int32),
            "suffix_end_N": np.cumsum([len(suffix) for suffix in suffixes]).astype(np.int32),
            "target_X": np.where(labels != IGNORED, np.cumsum(labels != IGNORED) - 1, -1).astype(np.int32),
        }


def cut_of(documents: str, text: str) -> int:
    """Where the last line begins that has LEFT characters of the documents behind it and a letter first; 0: nowhere."""
    begin = text.find(documents)
    at = documents.rfind("\n", 1, max(1, len(documents) - LEFT)) if begin >= 0 else -1
    while at > 0:
        if documents[at + 1].isalpha() and not documents[at - 1].isspace():
            return begin + at + 1
        at = documents.rfind("\n", 1, at)
    return 0


def rest_of(draft: Draft, head: str) -> Draft:
    if not head:
        return draft
    first, cut = draft[0], len(head)
    learned = tuple((start - cut, end - cut) for start, end in first.learned or ())
    return [Piece(first.text[cut:], learned, marks=False, closed=first.closed), *draft[1:]]


def targets(sequence: TokenSequence) -> list[int]:
    return [label for label in sequence.labels[1:] if label != IGNORED]


def first_targets(sequence: TokenSequence, count: int) -> TokenSequence:
    """As far as its target number `count`: what of a truncated row is learned. The first token is no target."""
    places = [i for i, label in enumerate(sequence.labels) if label != IGNORED and i > 0][:count]
    end = places[-1] + 1
    return TokenSequence(sequence.tokens[:end], [IGNORED, *sequence.labels[1:end]])


def shared_length(rests: Sequence[TokenSequence]) -> int:
    """How many tokens all begin with, short of the token before the first target of any."""
    least = min(next(i for i, label in enumerate(rest.labels) if label != IGNORED) - 1 for rest in rests)
    first = rests[0].tokens
    return next(
        (i for i in range(least) if any(rest.tokens[i] != first[i] for rest in rests)),
        max(0, least),
    )
