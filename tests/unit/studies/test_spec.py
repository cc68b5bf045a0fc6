import pytest

from ingrain.v1 import common_pb2, evaluator_pb2, studies_pb2
from servicekit.errors import Invalid
from services.studies.methods import METHODS, participants
from services.studies.spec import normalised

NAMES = {
    "dataset": "projects/p/datasets/d",
    "probes": "projects/p/datasets/q",
    "model": "projects/p/models/m",
}
LARGE = "projects/p/models/large"


def spec(**values: object) -> studies_pb2.StudySpec:
    return studies_pb2.StudySpec(**{**NAMES, **values})


def refused(given: studies_pb2.StudySpec) -> Invalid:
    with pytest.raises(Invalid) as caught:
        normalised(given)
    return caught.value


def test_contenders_take_part_in_context_by_default() -> None:
    full = normalised(spec(methods=["base"], contenders=[studies_pb2.Contender(model=LARGE)]))
    assert [(p.id, p.model) for p in participants(full)] == [("base", "model"), ("icl@large", "model large")]
    assert normalised(full) == full


def test_only_who_is_trained_has_several_seeds() -> None:
    full = normalised(spec(methods=["icl", "finetune", "finetune_icl"], training_seeds=[4, 5, 4]))
    assert [(p.id, p.seeds, p.weights) for p in participants(full)] == [
        ("icl", (4,), "base"),
        ("finetune", (4, 5), "finetune"),
        ("finetune_icl", (4, 5), "finetune"),
    ]


@pytest.mark.parametrize(
    ("values", "reason", "field"),
    [
        (
            {"contenders": [studies_pb2.Contender(model=NAMES["model"])]},
            "CONTENDER_REPEATS",
            "study.spec.contenders[0].model",
        ),
        (
            {"contenders": [studies_pb2.Contender(model=LARGE, methods=["nothing"])]},
            "UNKNOWN_METHOD",
            "study.spec.contenders[0].methods[0]",
        ),
        (
            {
                "question_count": 5,
                "requirements": studies_pb2.Requirements(questions_per_month=10, months=2),
            },
            "QUESTIONS_CONTRADICT",
            "study.spec.question_count",
        ),
        (
            {"retention": studies_pb2.Retention(context_probes="projects/p/datasets/c")},
            "RETENTION_INCOMPLETE",
            "study.spec.retention.context",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_field(values: dict, reason: str, field: str) -> None:
    error = refused(spec(**values))
    assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize(
    ("amount", "currency", "field"),
    [
        ("much", "EUR", "amount"),
        ("-1", "EUR", "amount"),
        ("NaN", "EUR", "amount"),
        ("5", "euro", "currency_code"),
    ],
)
def test_a_budget_is_an_amount_of_money(amount: str, currency: str, field: str) -> None:
    budget = common_pb2.Money(amount=amount, currency_code=currency)
    error = refused(spec(requirements=studies_pb2.Requirements(budget=budget)))
    assert error.field == f"study.spec.requirements.budget.{field}"


def test_questions_a_month_are_paid_for_a_year() -> None:
    full = normalised(spec(requirements=studies_pb2.Requirements(questions_per_month=10)))
    assert (full.requirements.months, full.question_count) == (12, 120)
    assert normalised(full) == full


def test_strategies_of_one_sort_only() -> None:
    given = spec(methods=["augmented_finetune_global"])
    given.augmentation.strategies[:] = ["reverse"]
    assert refused(given).reason == "NO_SUCH_STRATEGY"


def test_tokens_are_matched_by_the_study_and_not_by_hand() -> None:
    given = spec()
    given.training.max_tokens = 5
    assert refused(given).reason == "TOKENS_BY_MATCHING"


def test_what_is_read_has_defaults_only_where_somebody_reads_it() -> None:
    assert not normalised(spec()).HasField("subset")
    full = normalised(spec(methods=["icl_subset", "rag"], seed=9))
    assert (full.subset.share, full.subset.seed, full.retrieval.top_k) == (0.25, 9, 5)
    assert full.asking == evaluator_pb2.Evaluation.CHOICE


def test_too_many_to_compare() -> None:
    contenders = [studies_pb2.Contender(model=f"{LARGE}{i}", methods=METHODS) for i in range(3)]
    assert refused(spec(contenders=contenders)).reason == "TOO_MANY_METHODS"
