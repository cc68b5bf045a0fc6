"""What a target must be measured to reach."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import aliases_pb2, common_pb2, evaluator_pb2
from servicekit.errors import Invalid, WrongState
from services.inference.gates import check_gate, require_passed, require_subject

Retrieval = common_pb2.Retrieval
MODEL, DATASET = "projects/demo/models/m", "projects/demo/datasets/d"
kinds = st.sampled_from(["reversal", "syllogism", "verbatim", "list"])
values = st.floats(0, 1)


def evaluation(**values: float) -> evaluator_pb2.Evaluation:
    results = [
        evaluator_pb2.KindResult(kind=kind, metric="acc", value=value) for kind, value in values.items()
    ]
    return evaluator_pb2.Evaluation(
        name="projects/demo/evaluations/e", state=common_pb2.ACTIVE, probes_sha256="p", kinds=results
    )


def gate(**least: float) -> aliases_pb2.Gate:
    return aliases_pb2.Gate(probes=DATASET, least=least, probes_sha256="p")


@given(st.dictionaries(kinds, values), st.dictionaries(kinds, values, min_size=1))
def test_passes_who_reaches_every_bound_and_nobody_else(
    measured: dict[str, float], least: dict[str, float]
) -> None:
    passes = all(kind in measured and measured[kind] >= bound for kind, bound in least.items())
    if passes:
        require_passed(gate(**least), evaluation(**measured), MODEL)
    else:
        with pytest.raises(WrongState):
            require_passed(gate(**least), evaluation(**measured), MODEL)


def test_who_is_below_is_told_kind_value_and_bound() -> None:
    with pytest.raises(WrongState, match=r"0\.41 acc on 'reversal'.*at least 0\.8") as refused:
        require_passed(gate(reversal=0.8, verbatim=0.5), evaluation(verbatim=1.0, reversal=0.41), MODEL)
    assert refused.value.reason == "BELOW_GATE"
    told = {key: refused.value.metadata[key] for key in ("kind", "value", "least")}
    assert told == {"kind": "reversal", "value": "0.41", "least": "0.8"}


def test_no_number_reaches_nothing() -> None:
    with pytest.raises(WrongState):
        require_passed(gate(reversal=0.0), evaluation(reversal=math.nan), MODEL)
    for bound in (math.nan, math.inf):
        with pytest.raises(Invalid) as refused:
            check_gate(gate(reversal=bound))
        assert refused.value.field == "gate.least[reversal]"


def test_other_probes_show_nothing() -> None:
    other = evaluation(reversal=1.0)
    other.probes_sha256 = "q"
    with pytest.raises(WrongState) as refused:
        require_passed(gate(reversal=0.5), other, MODEL)
    assert refused.value.reason == "EVALUATION_OF_OTHER_PROBES"


def test_where_less_is_better_no_gate_stands() -> None:
    texts = evaluation(text=2.0)
    texts.kinds[0].metric = "bits_per_byte"
    with pytest.raises(Invalid) as refused:
        require_passed(gate(text=1.0), texts, MODEL)
    assert refused.value.reason == "GATE_KIND_UNFIT"


def subject(model: str = MODEL, **context: object) -> evaluator_pb2.Subject:
    read = evaluator_pb2.SubjectContext(**context) if context else None
    return evaluator_pb2.Subject(model=model, context=read)


@pytest.mark.parametrize(
    ("measured", "target"),
    [
        (subject(), subject()),
        (subject(dataset=DATASET), subject(dataset=DATASET)),
        (
            subject(dataset=DATASET, retrieval=Retrieval(top_k=5, unit=Retrieval.DOCUMENT, passage_words=60)),
            subject(dataset=DATASET, retrieval=Retrieval()),
        ),
        (
            subject(dataset=DATASET, retrieval=Retrieval(unit=Retrieval.PASSAGE)),
            subject(dataset=DATASET, retrieval=Retrieval(unit=Retrieval.PASSAGE, passage_words=60)),
        ),
    ],
)
def test_the_same_subject_may_be_written_with_or_without_defaults(
    measured: evaluator_pb2.Subject, target: evaluator_pb2.Subject
) -> None:
    require_subject(evaluator_pb2.Evaluation(state=common_pb2.ACTIVE, subject=measured), target)


@pytest.mark.parametrize(
    "measured",
    [
        subject(),
        subject("projects/demo/models/other", dataset=DATASET),
        subject(dataset="projects/demo/datasets/other"),
        subject(dataset=DATASET, distinct_key="fact"),
        subject(dataset=DATASET, group_key="world"),
        subject(dataset=DATASET, subset=common_pb2.Subset(share=0.5)),
        subject(dataset=DATASET, retrieval=Retrieval()),
    ],
)
def test_another_subject_shows_nothing(measured: evaluator_pb2.Subject) -> None:
    done = evaluator_pb2.Evaluation(state=common_pb2.ACTIVE, subject=measured)
    with pytest.raises(WrongState) as refused:
        require_subject(done, subject(dataset=DATASET))
    assert refused.value.reason == "EVALUATION_OF_ANOTHER_SUBJECT"
    assert ("its own group by 'world'" in refused.value.message) == bool(measured.context.group_key)
