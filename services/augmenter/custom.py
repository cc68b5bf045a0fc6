"""A caller's own prompts: checked, and made into strategies. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingrain.v1 import augmenter_pb2
from servicekit.errors import Invalid
from services.augmenter.strategies import STRATEGIES, Strategy
from services.augmenter.strategies.base import (
    ALL_DOCUMENTS,
    DIVIDER,
    ONE_DOCUMENT,
    SUBJECT_AMONG_ALL,
    each_alone,
    each_among_all,
    each_subject_among_all,
)

Sees = augmenter_pb2.PromptTemplate.Sees
COPIES = "original"  # the strategy of a copy of a document


@dataclass(frozen=True)
class Prompt:
    """A prompt of this derivation: instead of a strategy's own, or of a strategy that has no other."""

    strategy: str
    text: str
    sees: str  # of PromptTemplate.Sees; empty: as the strategy of that name
    structured: bool


_BY_SIGHT = {
    "ONE_DOCUMENT": Strategy("", ONE_DOCUMENT, each_alone),
    "ALL_DOCUMENTS": Strategy("", ALL_DOCUMENTS, each_among_all),
    "SUBJECT_AMONG_ALL": Strategy(
        "", SUBJECT_AMONG_ALL, each_subject_among_all, placeholders=(("subject",),)
    ),
}


def prompts_of(given: augmenter_pb2.AugmentationSpec) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(p.strategy, p.text, Sees.Name(p.sees) if p.sees else "", p.structured) for p in given.prompts
    )


def with_prompt(prompt: Prompt) -> Strategy:
    """The strategy that asks with it: what is seen decides, where it is said; else the strategy of that name."""
    if prompt.sees:
        return replace(_BY_SIGHT[prompt.sees], name=prompt.strategy)
    return STRATEGIES[prompt.strategy]


def check_prompts(prompts: Sequence[Prompt], strategies: Sequence[str]) -> None:
    """Invalid where one could never be asked as it is."""
    for index, prompt in enumerate(prompts):
        field = f"spec.prompts[{index}]"
        name = prompt.strategy
        if name in (earlier.strategy for earlier in prompts[:index]):
            raise Invalid(
                "DUPLICATE_PROMPT", f"{name!r} has a prompt already; give one", field=f"{field}.strategy"
            )
        if name == COPIES:
            raise Invalid(
                "RESERVED_NAME",
                f"{name!r} is what copies of documents are called; name it otherwise",
                field=f"{field}.strategy",
            )
        if name not in strategies:
            raise Invalid(
                "UNUSED_PROMPT",
                f"{name!r} is not among the strategies; name it in spec.strategies",
                field=f"{field}.strategy",
            )
        if name in STRATEGIES and STRATEGIES[name].asks is None:
            raise Invalid(
                "ASKS_NO_MODEL", f"{name!r} has no prompt: it asks no model", field=f"{field}.strategy"
            )
        if name not in STRATEGIES and not prompt.sees:
            raise Invalid(
                "NO_SIGHT",
                f"{name!r} is a strategy of your own; say what the model sees ({', '.join(_BY_SIGHT)})",
                field=f"{field}.sees",
            )
        if problem := missing(with_prompt(prompt), prompt.text):
            raise Invalid("NO_PLACEHOLDER", problem, field=f"{field}.text")


def missing(strategy: Strategy, text: str) -> str:
    """What the text lacks to be asked, or nothing."""
    parts = text.split(DIVIDER) if strategy.divided else [text]
    if len(parts) < len(strategy.placeholders):
        return f"{strategy.name!r} has {len(strategy.placeholders)} prompts, divided by a line of ---"
    for index, part in enumerate(parts):
        for placeholder in strategy.placeholders[min(index, len(strategy.placeholders) - 1)]:
            if f"{{{placeholder}}}" not in part:
                return f"without {{{placeholder}}} in the text nothing would be asked about it"
    return ""
