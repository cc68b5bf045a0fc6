"""Probes that say the same twice. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ingrain.v1 import evaluator_pb2
from servicekit.clusters import clustered_mean, share
from servicekit.errors import Invalid
from services.studies.coverage import groups
from services.studies.statistics import Answers

Row = Mapping[str, Any]


def repeated(rows: Sequence[Row], group_key: str) -> list[str]:
    """Ids of the probes whose text stood in an earlier one of their kind and group: they tell nothing new."""
    seen: set[tuple[object, ...]] = set()
    found = []
    for row, group in zip(rows, groups(rows, group_key), strict=True):
        asked = (row["kind"], group, *_asked(row))
        if asked in seen:
            found.append(str(row["id"]))
        seen.add(asked)
    return found


def check_contradictions(rows: Sequence[Row], group_key: str) -> None:
    """Raises Invalid where the same text with the same choices has two different right answers."""
    right: dict[tuple[object, ...], tuple[int, list[str]]] = {}
    for i, (row, group) in enumerate(zip(rows, groups(rows, group_key), strict=True)):
        answer = _right(row)
        first, known = right.setdefault((group, *_asked(row)), (i, answer))
        if known != answer:
            raise Invalid(
                "PROBES_CONTRADICT",
                f"rows[{first}] and rows[{i}] of the probes ask the same and have different right answers; mend or drop one.",
                field="study.spec.probes",
                row=i,
            )


def recount(kinds: Iterable[evaluator_pb2.KindResult], answers: Answers) -> list[evaluator_pb2.KindResult]:
    """The kinds' headlines as of these answers only; chances and further metrics stay those of all probes."""
    counted = []
    for kind in kinds:
        of_kind = answers.of_kinds([kind.kind])
        again = evaluator_pb2.KindResult()
        again.CopyFrom(kind)
        plain = share(of_kind.values, of_kind.clusters)
        again.value, again.n, again.stderr = plain.value, plain.n, plain.stderr
        again.ci95_low, again.ci95_high = plain.low, plain.high
        if kind.metric not in ("acc", "exact_match"):
            mean = clustered_mean(of_kind.values, of_kind.clusters)
            again.stderr = mean.stderr
            again.ci95_low, again.ci95_high = mean.interval
        counted.append(again)
    return counted


def _asked(row: Row) -> tuple[object, ...]:
    choices = tuple(sorted(_plain(choice) for choice in row.get("choices", ())))
    return _plain(row["prompt"] if "choices" in row else row["question"]), choices


def _right(row: Row) -> list[str]:
    if "choices" not in row:
        return sorted(_plain(answer) for answer in row["answers"])
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    numbered = [row["choices"][a] if isinstance(a, int) and not isinstance(a, bool) else a for a in answers]
    return sorted(_plain(answer) for answer in numbered)


def _plain(text: object) -> str:
    return " ".join(str(text).split())
