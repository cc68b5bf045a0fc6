"""AugmentationSpec -> a complete frozen value, with every default resolved and every name checked."""

import hashlib
import json
from dataclasses import asdict, dataclass

from ingrain.v1 import augmenter_pb2
from servicekit.errors import Invalid
from services.augmenter.strategies import STRATEGIES
from services.augmenter.strategies.base import prompt_sets, template_sha256


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
    )
