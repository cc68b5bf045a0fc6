"""`make k8s-alerts`: Prometheus' own promtool reads every alert, and tries those on services with series that should make them fire and
such that should not.

    python -m tools.k8s_alerts PROMTOOL
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[1] / "deploy" / "k8s" / "components" / "monitoring" / "alerts.yaml"
OF_CALLS = "rpc_server_call_duration_seconds_count"
OF_STORAGE = "ingrain_storage_call_duration_seconds_count"
OF_OPERATIONS = "ingrain_operation_duration_seconds_count"
LASTS_MIN = 120  # of the series; alerts are asked for at its end
Series = dict[tuple[str, tuple[tuple[str, str], ...]], str]


@dataclass(frozen=True)
class Case:
    """`series` in promtool's notation, `0+2x120` being 0, 2, 4 ... at each minute; `fires`: labels, or none."""

    alert: str
    series: Series
    fires: dict[str, str] | None = None


def one(name: str, values: str, **labels: str) -> Series:
    return {(name, tuple({"namespace": "ingrain", **labels}.items())): values}


def of(component: str, **labels: str) -> dict[str, str]:
    return {"app_kubernetes_io_component": component, **labels}


def both(name: str, label: str, good: tuple[str, str], bad: tuple[str, str], **labels: str) -> Series:
    """Two series that differ in `label`: (its value, the series' values)."""
    return {
        **one(name, good[1], **labels, **{label: good[0]}),
        **one(name, bad[1], **labels, **{label: bad[0]}),
    }


def calls(bad: str) -> Series:
    return both(OF_CALLS, "rpc_response_status_code", ("OK", "0+100x120"), ("INTERNAL", bad), **of("trainer"))


def stored(bad: str) -> Series:
    return both(OF_STORAGE, "outcome", ("ok", "0+100x120"), ("error", bad), **of("trainer", operation="put"))


def operations(succeeded: str, failed: str) -> Series:
    return both(OF_OPERATIONS, "state", ("SUCCEEDED", succeeded), ("FAILED", failed), verb="CreateStudy")


def oldest(verb: str, values: str) -> Series:
    return one("ingrain_operation_oldest_queued_seconds", values, verb=verb)


def refusals(reason: str, values: str) -> Series:
    return one("ingrain_refusals_total", values, **of("inference", reason=reason))


def lost(values: str) -> Series:
    return {
        **one("ingrain_operation_leases_lost_total", values, verb="CreateModel"),
        **one("ingrain_operation_takeovers_total", "0+0x120", verb="CreateModel"),
    }


MODEL, STUDY = {"verb": "CreateModel"}, {"verb": "CreateStudy"}
CASES = (
    Case("IngrainErrors", calls("0+10x120"), of("trainer")),
    Case("IngrainErrors", calls("0+3x120")),
    Case("IngrainErrors", calls("0x110 0+10x10")),  # for less than ten minutes above
    Case("IngrainRefusing", refusals("ENGINE_BUSY", "0+60x120"), of("inference", reason="ENGINE_BUSY")),
    Case("IngrainRefusing", refusals("ENGINE_BUSY", "0+1x120")),
    Case("IngrainRefusing", refusals("BAD_ROW", "0+60x120")),
    Case("IngrainOperationsWaiting", oldest("CreateStudy", "0+60x120"), STUDY),
    Case("IngrainOperationsWaiting", oldest("CreateModel", "0+60x120")),
    Case("IngrainOperationsWaiting", oldest("CreateStudy", "600x120")),
    Case("IngrainLongWorkWaiting", oldest("CreateModel", "50000x120"), MODEL),
    Case("IngrainLongWorkWaiting", oldest("CreateModel", "3600x120")),
    Case("IngrainOperationsAbandoned", one("ingrain_operations", "1x120", state="abandoned", **MODEL), MODEL),
    Case("IngrainOperationsAbandoned", one("ingrain_operations", "9x120", state="queued", **MODEL)),
    Case("IngrainLeasesLost", lost("0+1x120"), MODEL),
    Case("IngrainLeasesLost", lost("0x100 1x20")),
    Case("IngrainOperationsFailing", operations("0x120", "0+1x120"), STUDY),
    Case("IngrainOperationsFailing", operations("0+2x120", "0+1x120")),
    Case("IngrainOperationsFailing", operations("0x120", "0x100 1x20")),
    Case("IngrainStorageErrors", stored("0+5x120"), of("trainer", operation="put")),
    Case("IngrainStorageErrors", stored("0x120")),
    Case(
        "IngrainNotScraped", one("up", "0x120", pod="trainer-0"), {"namespace": "ingrain", "pod": "trainer-0"}
    ),
    Case("IngrainNotScraped", one("up", "1x120", pod="trainer-0")),
)


def expectation(rule: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    summary = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], rule["annotations"]["summary"])
    return {"exp_labels": labels | rule["labels"], "exp_annotations": {"summary": summary}}


def tried(case: Case, rule: dict[str, Any]) -> dict[str, Any]:
    series = [
        {
            "series": f"{name}{{{', '.join(f'{k}={v!r}' for k, v in labels)}}}".replace("'", '"'),
            "values": values,
        }
        for (name, labels), values in case.series.items()
    ]
    expected = [expectation(rule, case.fires)] if case.fires else []
    return {
        "interval": "1m",
        "name": f"{case.alert}, {'fires' if case.fires else 'is quiet'}",
        "input_series": series,
        "alert_rule_test": [{"eval_time": f"{LASTS_MIN}m", "alertname": case.alert, "exp_alerts": expected}],
    }


def main(tool: str) -> int:
    promtool = str(Path(tool).resolve())
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        tests = {
            "rule_files": ["rules.yaml"],
            "evaluation_interval": "1m",
            "tests": [tried(case, rules[case.alert]) for case in CASES],
        }
        (folder / "tests.yaml").write_text(yaml.safe_dump(tests))
        checked = subprocess.run([promtool, "check", "rules", "rules.yaml"], cwd=folder, check=False)
        done = subprocess.run([promtool, "test", "rules", "tests.yaml"], cwd=folder, check=False)
    untried = {rule["alert"] for rule in groups[-1]["rules"]} - {case.alert for case in CASES if case.fires}
    print(
        f"{len(rules)} alerts read; {len(CASES)} trials of those on services; never fired: {sorted(untried) or 'none'}"
    )
    return checked.returncode or done.returncode or bool(untried)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
