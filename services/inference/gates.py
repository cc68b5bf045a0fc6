"""What a target must be measured to reach before an alias may stand for it. Pure."""

import math

from ingrain.v1 import aliases_pb2, common_pb2, evaluator_pb2
from servicekit.errors import Invalid, WrongState
from services.inference.retrieval import DEFAULT_PASSAGE_WORDS, DEFAULT_TOP_K

LESS_IS_BETTER = {"bits_per_byte"}
Retrieval = common_pb2.Retrieval


def check_gate(gate: aliases_pb2.Gate) -> None:
    """Invalid where a bound is no number."""
    for kind, least in gate.least.items():
        if not math.isfinite(least):
            raise Invalid(
                "BAD_GATE", f"the gate of {kind} is {least}, no number", field=f"gate.least[{kind}]"
            )


def require_subject(evaluation: evaluator_pb2.Evaluation, subject: evaluator_pb2.Subject) -> None:
    """WrongState unless exactly this subject was evaluated, to the end."""
    if evaluation.state != common_pb2.ACTIVE:
        state = common_pb2.State.Name(evaluation.state)
        raise WrongState(
            "EVALUATION_NOT_ACTIVE",
            f"{evaluation.name} is {state}; only an ACTIVE one shows anything",
            evaluation=evaluation.name,
        )
    if settled(evaluation.subject) != settled(subject):
        grouped = evaluation.subject.context.group_key
        apart = f" (it asked each question with its own group by {grouped!r})" if grouped else ""
        raise WrongState(
            "EVALUATION_OF_ANOTHER_SUBJECT",
            f"{evaluation.name} measured another subject than {subject.model} with what the target reads{apart}; "
            "evaluate exactly the target",
            evaluation=evaluation.name,
        )


def require_passed(gate: aliases_pb2.Gate, evaluation: evaluator_pb2.Evaluation, target: str) -> None:
    """WrongState unless every kind of the gate was measured on its probes and reaches its least value."""
    if evaluation.probes_sha256 != gate.probes_sha256:
        raise WrongState(
            "EVALUATION_OF_OTHER_PROBES",
            f"{evaluation.name} asked {evaluation.probes}, and the gate counts {gate.probes}",
            evaluation=evaluation.name,
        )
    results = {result.kind: result for result in evaluation.kinds}
    for kind, least in sorted(gate.least.items()):
        if kind not in results:
            raise WrongState(
                "GATE_KIND_NOT_MEASURED",
                f"{evaluation.name} has no probes of kind {kind!r}, which the gate asks for",
                kind=kind,
            )
        result = results[kind]
        if result.metric in LESS_IS_BETTER:
            raise Invalid(
                "GATE_KIND_UNFIT",
                f"kind {kind!r} is measured in {result.metric}, of which less is better; no gate can stand on it",
                field=f"gate.least[{kind}]",
                kind=kind,
            )
        if not result.value >= least:
            raise WrongState(
                "BELOW_GATE",
                f"{target} has {result.value:.4g} {result.metric} on {kind!r} and the gate asks for at least {least:.4g}",
                kind=kind,
                value=result.value,
                least=least,
                evaluation=evaluation.name,
            )


def settled(subject: evaluator_pb2.Subject) -> evaluator_pb2.Subject:
    """With defaults written out, so that what is asked the same way compares as equal."""
    same = evaluator_pb2.Subject()
    same.CopyFrom(subject)
    if not same.context.dataset:
        same.ClearField("context")
        return same
    if same.context.HasField("retrieval"):
        found = same.context.retrieval
        found.unit = found.unit or Retrieval.DOCUMENT
        found.top_k = found.top_k or DEFAULT_TOP_K
        in_passages = found.unit == Retrieval.PASSAGE
        found.passage_words = (found.passage_words or DEFAULT_PASSAGE_WORDS) if in_passages else 0
    return same
