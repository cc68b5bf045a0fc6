"""AugmentationSpec -> a complete frozen value, with every default resolved and every name checked."""

import hashlib
import json
from dataclasses import asdict, dataclass

from ingrain.v1 import augmenter_pb2
from servicekit.errors import Invalid
from services.augmenter.strategies import STRATEGIES
from services.augmenter.strategies.base import prompt_sets, template_sha256

Sees = augmenter_pb2.PromptTemplate.Sees
DEFAULT_MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class Prompt:
    """A prompt of this derivation: instead of a strategy's own, or of a strategy that has no other."""

    strategy: str
    text: str
    sees: str  # of PromptTemplate.Sees; empty: as the strategy of that name
    structured: bool


@dataclass(frozen=True)
class Gates:
    """What is dropped; `max_characters` resolved, all else as in QualityGates."""

    keep_copies: bool
    keep_duplicates: bool
    near_duplicate_threshold: float
    on_topic: bool
    likelier_than_contradiction: bool
    judge: str
    max_characters: int


@dataclass(frozen=True)
class Spec:
    strategies: tuple[str, ...]
    samples_per_document: int
    temperature: float
    max_tokens: int
    seed: int
    group_key: str
    distinct_key: str
    prompt_set: str
    shuffled: bool
    min_agreement: int
    prompts: tuple[Prompt, ...]
    context_document_count: int
    target_tokens: int
    original_copies: int
    gates: Gates

    def fingerprint(self, dataset_sha256: str, model_sha256: str) -> str:
        """Of all that decides what is generated."""
        prompts = [template_sha256(self.prompt_set, name) for name in self.strategies]
        content = json.dumps([asdict(self), prompts, dataset_sha256, model_sha256], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def resolve(given: augmenter_pb2.AugmentationSpec) -> Spec:
    for index, name in enumerate(given.strategies):
        if name not in STRATEGIES:
            raise Invalid(
                "UNKNOWN_STRATEGY",
                f"there is no strategy {name!r}; there are {', '.join(STRATEGIES)}",
                field=f"spec.strategies[{index}]",
            )
    prompt_set = given.prompt_set or "default"
    if prompt_set not in prompt_sets():
        raise Invalid(
            "UNKNOWN_PROMPT_SET",
            f"there is no prompt set {prompt_set!r}; there are {', '.join(prompt_sets())}",
            field="spec.prompt_set",
        )
    return Spec(
        strategies=tuple(dict.fromkeys(given.strategies)) or tuple(STRATEGIES),
        samples_per_document=given.samples_per_document or 2,
        temperature=given.temperature if given.HasField("temperature") else 0.7,
        max_tokens=given.max_tokens or 128,
        seed=given.seed,
        group_key=given.group_key,
        distinct_key=given.distinct_key,
        prompt_set=prompt_set,
        shuffled=given.shuffled,
        min_agreement=given.min_agreement or 1,
        prompts=tuple(
            Prompt(p.strategy, p.text, Sees.Name(p.sees) if p.sees else "", p.structured)
            for p in given.prompts
        ),
        context_document_count=given.context_document_count,
        target_tokens=given.target_tokens,
        original_copies=given.original_copies,
        gates=gates_of(given.gates),
    )


def gates_of(given: augmenter_pb2.QualityGates) -> Gates:
    return Gates(
        keep_copies=given.keep_copies,
        keep_duplicates=given.keep_duplicates,
        near_duplicate_threshold=given.near_duplicate_threshold,
        on_topic=given.on_topic,
        likelier_than_contradiction=given.likelier_than_contradiction,
        judge=given.judge,
        max_characters=given.max_characters or DEFAULT_MAX_CHARACTERS,
    )
