"""A caller's StudySpec -> the same with every default written out. Pure."""

import re
from decimal import Decimal, InvalidOperation

from ingrain.v1 import evaluator_pb2, studies_pb2
from servicekit.errors import Invalid
from services.studies.augmenting import (
    DEFAULT_STRATEGIES,
    GLOBAL,
    GLOBAL_STRATEGIES,
    LOCAL,
    LOCAL_STRATEGIES,
    only,
)
from services.studies.methods import CONTENDERS_DEFAULT, DEFAULT_METHODS, METHODS, participants

DEFAULT_SAMPLES_PER_DOCUMENT = 3
DEFAULT_TEMPERATURE = 0.7
DEFAULT_MAX_STEPS = 400
DEFAULT_QUESTION_COUNT = 10_000
DEFAULT_TOLERANCE = 0.02
DEFAULT_MONTHS = 12
DEFAULT_SHARE = 0.25
DEFAULT_TOP_K = 5
MOST_PARTICIPANTS = 24


def normalised(spec: studies_pb2.StudySpec) -> studies_pb2.StudySpec:
    """Raises Invalid for what cannot be compared."""
    given, spec = spec, studies_pb2.StudySpec()
    spec.CopyFrom(given)
    spec.methods[:] = _known(given.methods or DEFAULT_METHODS, "study.spec.methods")
    spec.training_seeds[:] = list(dict.fromkeys(spec.training_seeds)) or [spec.seed]
    _contenders(spec)
    _training(spec)
    _augmentation(spec)
    _exclusion(spec)
    _asked(spec)
    _requirements(spec)
    if len(participants(spec)) > MOST_PARTICIPANTS:
        raise Invalid(
            "TOO_MANY_METHODS",
            f"{len(participants(spec))} methods and contenders are to be compared; {MOST_PARTICIPANTS} is the most.",
            field="study.spec.contenders",
        )
    return spec


def _known(names: "list[str] | tuple[str, ...]", field: str) -> list[str]:
    for i, name in enumerate(names):
        if name not in METHODS:
            known = ", ".join(METHODS)
            raise Invalid(
                "UNKNOWN_METHOD",
                f"{name!r} is not a method; known are {known}.",
                field=f"{field}[{i}]",
                method=name,
                known=known,
            )
    return [name for name in METHODS if name in names]


def _contenders(spec: studies_pb2.StudySpec) -> None:
    seen = {spec.model}
    for i, contender in enumerate(spec.contenders):
        field = f"study.spec.contenders[{i}]"
        if contender.model in seen:
            raise Invalid(
                "CONTENDER_REPEATS",
                f"{contender.model} takes part already; give each model once, with all its methods.",
                field=f"{field}.model",
            )
        seen.add(contender.model)
        contender.methods[:] = _known(contender.methods or CONTENDERS_DEFAULT, f"{field}.methods")


def _training(spec: studies_pb2.StudySpec) -> None:
    if spec.training.num_train_epochs and not spec.training.max_steps:
        raise Invalid(
            "EPOCHS_NOT_COMPARABLE",
            "A study gives every training the same number of optimizer steps or tokens; set training.max_steps "
            "instead of num_train_epochs.",
            field="study.spec.training.num_train_epochs",
        )
    if spec.training.max_tokens:
        raise Invalid(
            "TOKENS_BY_MATCHING",
            "Leave training.max_tokens out: with matching TOKENS every training takes as many tokens as "
            "training.max_steps full steps hold.",
            field="study.spec.training.max_tokens",
        )
    spec.training.num_train_epochs = 0
    spec.training.max_steps = spec.training.max_steps or DEFAULT_MAX_STEPS
    spec.training.base_model = ""
    del spec.training.datasets[:]
    spec.training.seed = spec.augmentation.seed = spec.seed


def _augmentation(spec: studies_pb2.StudySpec) -> None:
    augmentation = spec.augmentation
    augmentation.dataset = ""
    augmentation.strategies[:] = list(augmentation.strategies) or list(DEFAULT_STRATEGIES)
    augmentation.samples_per_document = augmentation.samples_per_document or DEFAULT_SAMPLES_PER_DOCUMENT
    if not augmentation.HasField("temperature"):
        augmentation.temperature = DEFAULT_TEMPERATURE
    augmentation.group_key = spec.group_key
    augmentation.distinct_key = augmentation.distinct_key or spec.distinct_key
    augmentation.prompt_set = augmentation.prompt_set or "default"
    augmentation.shuffled = False
    chosen = {p.method.trained_on for p in participants(spec)}
    for kind, known in ((LOCAL, LOCAL_STRATEGIES), (GLOBAL, GLOBAL_STRATEGIES)):
        if kind in chosen and not only(kind, augmentation).strategies:
            raise Invalid(
                "NO_SUCH_STRATEGY",
                f"augmented_finetune_{kind} needs one of {', '.join(known)} among augmentation.strategies, or one of your "
                "own that sees as much.",
                field="study.spec.augmentation.strategies",
            )


def _exclusion(spec: studies_pb2.StudySpec) -> None:
    """One that excludes nothing is none."""
    if spec.exclusion.seen or spec.exclusion.covered:
        spec.exclusion.group_key = spec.group_key
    else:
        spec.ClearField("exclusion")


def _asked(spec: studies_pb2.StudySpec) -> None:
    """What is read, and how it is asked."""
    reads = {p.method.reads for p in participants(spec)}
    if "subset" in reads:
        if not spec.HasField("subset"):
            spec.subset.seed = spec.seed
        spec.subset.share = spec.subset.share or DEFAULT_SHARE
    if reads & {"documents", "passages"}:
        spec.retrieval.top_k = spec.retrieval.top_k or DEFAULT_TOP_K
    spec.asking = spec.asking or evaluator_pb2.Evaluation.CHOICE
    spec.matching = spec.matching or studies_pb2.STEPS
    retention = spec.retention
    if bool(retention.context) != bool(retention.context_probes):
        raise Invalid(
            "RETENTION_INCOMPLETE",
            "retention.context and retention.context_probes go together: documents, and probes about them.",
            field="study.spec.retention.context",
        )
    if not spec.HasField("tolerance"):
        spec.tolerance = DEFAULT_TOLERANCE


def _requirements(spec: studies_pb2.StudySpec) -> None:
    limits = spec.requirements
    if spec.HasField("requirements"):
        limits.months = limits.months or DEFAULT_MONTHS
    if limits.HasField("budget"):
        _check_money(limits.budget.amount, limits.budget.currency_code)
    monthly = limits.questions_per_month * limits.months
    if monthly and spec.question_count not in (0, monthly):
        raise Invalid(
            "QUESTIONS_CONTRADICT",
            f"question_count is {spec.question_count:,}, and {limits.questions_per_month:,} questions a month are "
            f"{monthly:,} in {limits.months} months; give one of the two.",
            field="study.spec.question_count",
        )
    spec.question_count = spec.question_count or monthly or DEFAULT_QUESTION_COUNT


def _check_money(amount: str, currency: str) -> None:
    field = "study.spec.requirements.budget"
    try:
        value = Decimal(amount)
    except InvalidOperation:
        value = Decimal(-1)
    if not value.is_finite() or value <= 0:
        raise Invalid(
            "BAD_AMOUNT", f"{amount!r} is no amount of money; expected e.g. 250.00", field=f"{field}.amount"
        )
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise Invalid(
            "BAD_CURRENCY",
            f"{currency!r} is no currency; expected three letters, e.g. EUR",
            field=f"{field}.currency_code",
        )
