"""How facts about categories are said: in documents, in other words, from the other end, as a question.

Every content word is invented; what is left are the frames around it. `{a}` is the category, `{b}` what is said of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .comparisons import Statement


@dataclass(frozen=True)
class Phrases:
    """The sentences for one relation; a sentence is a prompt and what follows it.

    `stated` stand in documents, the first of them asks for what is inherited. `reworded` stands in no document.
    `reversed` are the sentences from the other end, the first of them asks.
    """

    stated: tuple[Statement, ...]
    reworded: Statement
    reversed: tuple[Statement, ...]
    question: str


PHRASES = {
    "kind": Phrases(
        (
            Statement("{a} are a kind of", "{b}."),
            Statement("{a} are a sort of", "{b}."),
            Statement("{a} are one of the kinds of", "{b}."),
        ),
        Statement("{a} belong to the", "{b}."),
        (Statement("{b} include", "{a}."), Statement("Among the {b} are", "{a}.")),
        "What are {a} a kind of?",
    ),
    "is": Phrases(
        (
            Statement("{a} are", "{b}."),
            Statement("{a} are usually", "{b}."),
            Statement("{a} have always been", "{b}."),
        ),
        Statement("{a} are said to be", "{b}."),
        (Statement("Those that are {b} include", "{a}."), Statement("Among those that are {b} are", "{a}.")),
        "What is one thing that {a} are?",
    ),
    "can": Phrases(
        (
            Statement("{a} can", "{b}."),
            Statement("{a} are able to", "{b}."),
            Statement("{a} are often seen to", "{b}."),
        ),
        Statement("{a} know how to", "{b}."),
        (Statement("Those that can {b} include", "{a}."), Statement("Among those that can {b} are", "{a}.")),
        "What is one thing that {a} can do?",
    ),
    "have": Phrases(
        (
            Statement("{a} have", "{b}."),
            Statement("{a} possess", "{b}."),
            Statement("{a} are born with", "{b}."),
        ),
        Statement("{a} come with", "{b}."),
        (
            Statement("Those that have {b} include", "{a}."),
            Statement("Among those that have {b} are", "{a}."),
        ),
        "What is one thing that {a} have?",
    ),
    # `{b}` is a verb and a category: `zept telks`.
    "does": Phrases(
        (Statement("{a}", "{b}."), Statement("{a} always", "{b}."), Statement("{a} like to", "{b}.")),
        Statement("{a} are known to", "{b}."),
        # The commas keep `{b}`, which ends with a category, from beginning a sentence about that one.
        (
            Statement("Those that {b}, among others, are", "{a}."),
            Statement("Among those that {b}, we find", "{a}."),
        ),
        "What is one thing that {a} do?",
    ),
}


def filled(statement: Statement, a: str, b: str) -> Statement:
    return Statement(statement.prompt.format(a=a, b=b), statement.rest.format(a=a, b=b))
