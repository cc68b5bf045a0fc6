"""The ways to get documents into a model, and who takes part in a comparison with which. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingrain.v1 import common_pb2, studies_pb2


@dataclass(frozen=True)
class Method:
    """`trained_on`: nothing, `documents`, or documents and what was inferred from them `local`ly, `global`ly, by `all`
    strategies, or from `shuffled` ones. `reads`: nothing, `all` documents, a `subset`, or the `documents` or `passages` found.
    """

    name: str
    title: str
    trained_on: str = ""
    reads: str = ""
    control: bool = False  # tells why a method works; nobody would use it


# In the order in which they are run and shown.
METHODS = {
    method.name: method
    for method in (
        Method("base", "the model as it is"),
        Method("icl", "the documents in the context", reads="all"),
        Method("icl_subset", "a random part of the documents in the context", reads="subset"),
        Method("icl_retrieved", "the documents found for each question in the context", reads="documents"),
        Method("rag", "the passages found for each question in the context", reads="passages"),
        Method("finetune", "fine-tuning on the documents", "documents"),
        Method(
            "augmented_finetune",
            "fine-tuning on the documents and on what the model infers from them",
            "all",
        ),
        Method(
            "augmented_finetune_local",
            "fine-tuning on the documents and on what the model infers from each of them alone",
            "local",
        ),
        Method(
            "augmented_finetune_global",
            "fine-tuning on the documents and on what the model infers from all of them together",
            "global",
        ),
        Method(
            "finetune_icl", "fine-tuning on the documents, which are in the context too", "documents", "all"
        ),
        Method(
            "augmented_finetune_icl",
            "fine-tuning on the documents and the model's inferences, with the documents in the context too",
            "all",
            "all",
        ),
        Method(
            "shuffled_finetune",
            "fine-tuning with augmentations that say nothing true (a control)",
            "shuffled",
            control=True,
        ),
    )
}
DEFAULT_METHODS = ("base", "icl", "finetune", "augmented_finetune")
CONTENDERS_DEFAULT = ("icl",)
# Who is trained on the same is the same model, whatever it reads besides.
TRAINED_AS = {
    "documents": "finetune",
    "all": "augmented_finetune",
    "local": "augmented_finetune_local",
    "global": "augmented_finetune_global",
    "shuffled": "shuffled_finetune",
}
UNITS = {"documents": common_pb2.Retrieval.DOCUMENT, "passages": common_pb2.Retrieval.PASSAGE}


@dataclass(frozen=True)
class Participant:
    """A model with a method: a row of every table. `model`: the role of its base model among a study's inputs."""

    id: str
    method: Method
    model: str
    seeds: tuple[int, ...]  # of its trainings; one for what is not trained, where it means nothing

    @property
    def weights(self) -> str:
        """What its answers come from: participants with the same share their training. E.g. `finetune@large`."""
        trained = TRAINED_AS[self.method.trained_on] if self.method.trained_on else "base"
        return trained + self.id.removeprefix(self.method.name)

    @property
    def title(self) -> str:
        _, at, model = self.id.partition("@")
        return f"{self.method.title}, with {model}" if at else self.method.title


def participants(spec: studies_pb2.StudySpec) -> list[Participant]:
    """Of a normalised spec, in order: the study's model with its methods, then each contender with its own."""
    found = _with("model", "", list(spec.methods), list(spec.training_seeds))
    for contender in spec.contenders:
        short = contender.model.rpartition("/")[2]
        found += _with(role_of(contender), f"@{short}", list(contender.methods), list(spec.training_seeds))
    return found


def role_of(contender: studies_pb2.Contender) -> str:
    return f"model {contender.model.rpartition('/')[2]}"


def _with(role: str, suffix: str, methods: Sequence[str], seeds: Sequence[int]) -> list[Participant]:
    return [
        Participant(f"{name}{suffix}", method, role, tuple(seeds) if method.trained_on else (seeds[0],))
        for name, method in METHODS.items()
        if name in methods
    ]
