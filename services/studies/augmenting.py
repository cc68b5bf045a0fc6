"""What a study's augmentation is made of: which strategies are local and which global, by what each sees. Pure."""

from collections.abc import Iterable

from ingrain.v1 import augmenter_pb2

DEFAULT_STRATEGIES = ("rephrase", "reverse", "infer", "link", "about")
# One document in sight; the last three ask no model.
LOCAL_STRATEGIES = (
    *("rephrase", "reverse", "infer", "question_answer", "summarize", "active_reading"),
    *("reverse_words", "identity_bridge", "masked"),
)
# Several documents in sight.
GLOBAL_STRATEGIES = ("link", "about", "entity_pairs")
LOCAL, GLOBAL = "local", "global"

Sees = augmenter_pb2.PromptTemplate.Sees


def kind_of(name: str, prompts: Iterable[augmenter_pb2.PromptTemplate]) -> str:
    """`local` or `global`: as the strategy's own prompt says, else as it is known; empty for one that nobody knows."""
    for prompt in prompts:
        if prompt.strategy == name and prompt.sees:
            return LOCAL if prompt.sees == Sees.ONE_DOCUMENT else GLOBAL
    if name in LOCAL_STRATEGIES:
        return LOCAL
    return GLOBAL if name in GLOBAL_STRATEGIES else ""


def only(kind: str, augmentation: augmenter_pb2.AugmentationSpec) -> augmenter_pb2.AugmentationSpec:
    """The same with the strategies of this kind, and with no prompt that none of them asks."""
    chosen = augmenter_pb2.AugmentationSpec()
    chosen.CopyFrom(augmentation)
    chosen.strategies[:] = [
        name for name in augmentation.strategies if kind_of(name, augmentation.prompts) == kind
    ]
    del chosen.prompts[:]
    chosen.prompts.extend(p for p in augmentation.prompts if p.strategy in chosen.strategies)
    return chosen
