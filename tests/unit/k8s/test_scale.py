"""The capacity model's arithmetic, and what the page says of a simulation."""

import json
from dataclasses import asdict
from types import SimpleNamespace

from tools.scale import load
from tools.scale.load import Installation, Outcome
from tools.scale.page import DOCS, page
from tools.scale.simulation import MEASURED_S, WARM_UP_S, Level, overlap


def outcome(**changes: object) -> Outcome:
    parts = Installation("one").slots
    plain = {
        "installation": Installation("one"),
        "ended_a_day": 1000.0,
        "busy": dict.fromkeys(parts, 0.5),
        "waiting": dict.fromkeys(parts, 0.0),
        "open_operations": 100.0,
        "fits": 1.0,
        "median_s": 600.0,
        "p95_s": 900.0,
    }
    return Outcome(**(plain | changes))  # type: ignore[arg-type]


def test_a_slot_is_a_pod_times_its_operations_and_a_trainer_has_its_fits() -> None:
    slots = Installation("one", studies=3, trainer=5, at_once=7, fits=2).slots
    assert (slots["studies"], slots["trainer"]) == (21, 10)


def test_what_is_needed_is_the_rate_times_the_demand() -> None:
    rate_s = load.STUDIES_A_DAY / load.DAY_S
    needed = load.needed(rate_s, busy=1.0)
    for part, seconds in load.demands().items():
        assert 0 <= needed[part] - rate_s * seconds <= 1.5
    assert needed["engines"] + needed["training"] < load.GPUS


def test_who_still_waits_at_the_end_is_counted() -> None:
    env = SimpleNamespace(now=0.0)
    level = Level(env)
    env.now = WARM_UP_S + MEASURED_S / 2
    waiting = level.during(iter([None]))
    next(waiting)
    env.now = WARM_UP_S + MEASURED_S
    assert level.mean == 0.5


def test_the_bottleneck_is_what_the_others_wait_for() -> None:
    waiting = {**outcome().waiting, "trainer": 50.0, "studies": 5000.0}
    full = outcome(busy={**outcome().busy, "trainer": 1.0, "studies": 1.0}, waiting=waiting)
    assert full.bottleneck == "trainer"
    assert outcome(waiting=waiting).bottleneck == ""


def test_transactions_grow_with_those_who_wait() -> None:
    few, many = outcome(), outcome(open_operations=1100.0)
    assert many.transactions_s() - few.transactions_s() == 1000 * (
        load.POLLS_OF_A_WAITER_S + load.HEARTBEATS_S
    )


def test_only_the_measured_hours_count() -> None:
    end = WARM_UP_S + MEASURED_S
    assert overlap(0.0, WARM_UP_S) == 0.0
    assert overlap(WARM_UP_S - 10, WARM_UP_S + 10) == 10.0
    assert overlap(end - 5, end + 5) == 5.0


def test_the_page_names_what_is_short() -> None:
    full = outcome(busy={**outcome().busy, "trainer": 1.0}, waiting={**outcome().waiting, "trainer": 50.0})
    told = [asdict(full) | {"bottleneck": full.bottleneck}, asdict(outcome()) | {"bottleneck": ""}]
    text = page(10.0, told, told[1])
    assert "| places for trainings |" in text
    assert "| nothing |" in text
    assert "never run" in text


def test_the_page_is_of_the_figures_beside_it() -> None:
    told = json.loads((DOCS / "scale.json").read_text())
    assert (DOCS / "scale.md").read_text() == page(
        told["transactions_of_an_operation"], told["widened"], told["twice"]
    )
