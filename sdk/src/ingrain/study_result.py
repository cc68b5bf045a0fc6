"""What came out of a study, for notebooks: a table to look at, a frame to work with."""

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

_STYLE = "border-collapse:collapse;font-size:90%"
_CELL = "padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right"


@dataclass(frozen=True)
class StudyResult:
    """A study's report, docs/report.md. `repr` is one line; in a notebook it shows itself as a table."""

    report: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.report["study"])

    @property
    def method(self) -> str:
        """What is recommended; empty where no method keeps to the limits."""
        return str(self.report["recommendation"]["method"])

    @property
    def model(self) -> str:
        """The model that answers."""
        return str(self.report["recommendation"]["model"])

    def to_dict(self) -> dict[str, Any]:
        return self.report

    def rows(self) -> list[dict[str, Any]]:
        """One for each method and kind of probe: accuracy with its interval, what the method costs, who answers."""
        return [
            {
                "study": self.name,
                "method": method,
                "kind": kind,
                "metric": found["metric"],
                "accuracy": found["accuracy"],
                "ci95_low": found["ci95"][0],
                "ci95_high": found["ci95"][1],
                "n": found["n"],
                "counted": found["counted"],
                "chance": found["chance"],
                "mean_of_kinds": entry["accuracy"],
                "recommended": method == self.method,
                "build_flops": entry["cost"]["build"]["flops"],
                "question_flops": entry["cost"]["question"]["flops"],
                "build_price": _number(entry["cost"]["build_price"]),
                "thousand_questions_price": _number(entry["cost"]["thousand_questions_price"]),
                "latency_p95_seconds": (entry["latency"] or {}).get("p95_seconds"),
                "model": entry["model"],
            }
            for method, entry in self.report["methods"].items()
            for kind, found in entry["kinds"].items()
        ]

    def to_pandas(self) -> "pandas.DataFrame":
        """`rows()` as a frame. Needs pandas: pip install 'ingrain[pandas]'."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install 'ingrain[pandas]'") from error
        return pandas.DataFrame(self.rows())

    def __repr__(self) -> str:
        means = ", ".join(
            f"{method} {entry['accuracy']:.3f}" for method, entry in self.report["methods"].items()
        )
        return f"<StudyResult {self.name}: {self.method or 'no method'} ({means})>"

    def _repr_html_(self) -> str:
        kinds = list(dict.fromkeys(kind for m in self.report["methods"].values() for kind in m["kinds"]))
        head = "".join(f'<th scope="col" style="{_CELL}">{escape(title)}</th>' for title in [*kinds, "mean"])
        body = "".join(
            f'<tr><th scope="row" style="{_CELL};text-align:left">{self._marked(method)}</th>'
            + "".join(_cell(entry["kinds"].get(kind)) for kind in kinds)
            + f'<td style="{_CELL}">{_share(entry["accuracy"])}</td></tr>'
            for method, entry in self.report["methods"].items()
        )
        recommendation = self.report["recommendation"]
        return (
            f"<div><p><b>{escape(recommendation['method'] or 'No method')}</b>: {escape(recommendation['reason'])}</p>"
            f'<table style="{_STYLE}"><caption style="text-align:left">{escape(self.name)}: share right, 95 % interval'
            f'</caption><thead><tr><th style="{_CELL}"></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def _marked(self, method: str) -> str:
        return f"<b>{escape(method)}</b>" if method == self.method else escape(method)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return f'<td style="{_CELL}"></td>'
    low, high = found["ci95"]
    return f'<td style="{_CELL}">{_share(found["accuracy"])}<br><small>{low:.2f} to {high:.2f}</small></td>'


def _share(value: float) -> str:
    return f"{value:.2f}"


def _number(amount: str | None) -> float | None:
    return None if amount is None else float(amount)
