"""AugmentationSpec -> a complete frozen value, with every default resolved and every name checked."""

import hashlib
import json
from dataclasses import asdict, dataclass

from ingrain.v1 import augmenter_pb2
from servicekit.errors import Invalid
from services.augmenter.custom import Prompt, check_prompts, prompts_of, with_prompt
from services.augmenter.strategies import DEFAULT_STRATEGIES, STRATEGIES, Strategy
from services.augmenter.strategies.base import prompt_sets, template

CUSTOM_SET = "custom"  # the prompt set of a prompt of the caller's own
DEFAULT_MAX_CHARACTERS = 2000


@dataclass(frozen=True)
class PromptText:
    """What is asked by a strategy; both empty where no model is asked."""

    text: str
    prompt_set: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest() if self.prompt_set else ""


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
        prompts = [self.prompt(name).sha256 for name in self.strategies]
        content = json.dumps([asdict(self), prompts, dataset_sha256, model_sha256], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def prompt(self, name: str) -> PromptText:
        """The strategy's prompt as it is asked here."""
        for own in self.prompts:
            if own.strategy == name:
                return PromptText(own.text, CUSTOM_SET)
        if STRATEGIES[name].asks is None:
            return PromptText("", "")
        return PromptText(template(self.prompt_set, name), self.prompt_set)

    def prompt_sets(self) -> str:
        """Where the prompts are from, each set once."""
        found = (self.prompt(name).prompt_set for name in self.strategies)
        return ", ".join(dict.fromkeys(prompt_set for prompt_set in found if prompt_set))

    def strategy(self, name: str) -> Strategy:
        for own in self.prompts:
            if own.strategy == name:
                return with_prompt(own)
        return STRATEGIES[name]

    def structured(self, name: str) -> bool:
        return any(own.structured for own in self.prompts if own.strategy == name)

    @property
    def asks_model(self) -> bool:
        """Whether a model writes or weighs anything, so that there must be one."""
        writes = any(self.strategy(name).asks for name in self.strategies)
        return writes or self.gates.likelier_than_contradiction or self.target_tokens > 0


def require_model(given: augmenter_pb2.AugmentationSpec, spec: Spec) -> None:
    """Invalid where a model is needed and none is named."""
    if spec.asks_model and not given.model:
        raise Invalid(
            "NO_MODEL",
            "a model must be named: only reverse_words, identity_bridge and masked are made without one, and "
            "neither target_tokens nor likelier_than_contradiction is to be had without one",
            field="spec.model",
        )


def resolve(given: augmenter_pb2.AugmentationSpec) -> Spec:
    strategies = tuple(dict.fromkeys(given.strategies)) or DEFAULT_STRATEGIES
    own = prompts_of(given)
    known = dict.fromkeys([*STRATEGIES, *(prompt.strategy for prompt in own)])
    for index, name in enumerate(given.strategies):
        if name not in known:
            raise Invalid(
                "UNKNOWN_STRATEGY",
                f"there is no strategy {name!r}; there are {', '.join(known)}",
                field=f"spec.strategies[{index}]",
            )
    check_prompts(own, strategies)
    prompt_set = given.prompt_set or "default"
    if prompt_set not in prompt_sets():
        raise Invalid(
            "UNKNOWN_PROMPT_SET",
            f"there is no prompt set {prompt_set!r}; there are {', '.join(prompt_sets())}",
            field="spec.prompt_set",
        )
    return Spec(
        strategies=strategies,
        samples_per_document=given.samples_per_document or 2,
        temperature=given.temperature if given.HasField("temperature") else 0.7,
        max_tokens=given.max_tokens or 128,
        seed=given.seed,
        group_key=given.group_key,
        distinct_key=given.distinct_key,
        prompt_set=prompt_set,
        shuffled=given.shuffled,
        min_agreement=given.min_agreement or 1,
        prompts=own,
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
