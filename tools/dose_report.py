"""What doses gave -> intervals, which dose is enough, docs/dose.md. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from services.studies.statistics import SIGNIFICANT, answers, by_kind, compare_all, counted_kinds, pooled

NONE = "none"  # the dose of training on the documents alone


@dataclass
class Dosed:
    """Of one dose over all seeds: `rows` of answers, and what was derived for each seed."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    derived: list[dict[str, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)


def result_of(doses: Mapping[str, Dosed]) -> dict[str, Any]:
    """`doses`: from the least to the largest."""
    of_dose = {dose: answers(one.rows) for dose, one in doses.items()}
    counted = counted_kinds(next(iter(of_dose.values())))
    of_counted = {dose: one.of_kinds(counted) for dose, one in of_dose.items()}
    comparisons = [
        {
            "larger": one.candidate,
            "smaller": one.baseline,
            "value": one.value,
            "ci95": [one.low, one.high],
            "p_adjusted": one.p,
            "detectable": one.detectable,
            "n": one.n,
        }
        for one in compare_all(of_counted, tolerance=0.0)
    ]
    return {
        "doses": {
            dose: {
                "accuracy": share(pooled(of_counted[dose])),
                "kinds": {
                    kind: share(pooled(of_dose[dose].of_kinds([kind])))
                    for kind in dict.fromkeys(of_dose[dose].kinds)
                },
                "derived": together(one.derived),
            }
            for dose, one in doses.items()
        },
        "counted": counted,
        "comparisons": comparisons,
        "by_kind": {
            f"{larger} - {smaller}": {
                kind: share(mean) for kind, mean in by_kind(of_dose[larger], of_dose[smaller])
            }
            for smaller, larger in zip(list(doses), list(doses)[1:], strict=False)
        },
        "enough": enough(list(doses), comparisons),
    }


def share(mean: Any) -> dict[str, Any]:
    return {"value": mean.value, "ci95": list(mean.interval), "n": mean.n, "clusters": mean.cluster_count}


def together(derived: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Sums over the seeds; None where nothing was derived."""
    if not derived:
        return None
    dropped: Counter[str] = Counter()
    for one in derived:
        dropped.update(one["dropped"])
    sums = {
        key: sum(one[key] for one in derived)
        for key in ("rows", "tokens", "prompts", "covered", "flops", "compute_seconds")
    }
    prices = [one["price"] for one in derived]
    price = None if None in prices else str(sum(map(Decimal, prices), Decimal(0)))
    return {
        **sums,
        "dropped": dict(sorted(dropped.items())),
        "price": price,
        "currency": derived[0]["currency"],
    }


def enough(doses: Sequence[str], comparisons: Sequence[Mapping[str, Any]]) -> str:
    """The smallest dose than which no larger one is significantly better."""
    for dose in doses:
        better = [
            one
            for one in comparisons
            if one["smaller"] == dose and one["value"] > 0 and one["p_adjusted"] < SIGNIFICANT
        ]
        if not better:
            return dose
    raise AssertionError("the largest dose has no larger one")


def sentence(result: Mapping[str, Any]) -> str:
    """When more stops paying."""
    doses, dose = list(result["doses"]), result["enough"]
    if dose == doses[-1]:
        return f"Up to {dose} more derived rows kept paying: every smaller dose is significantly worse than some larger one."
    larger = [one for one in result["comparisons"] if one["smaller"] == dose]
    gains = ", ".join(
        f"{one['larger']} {points(one['value'])} points ({points(one['ci95'][0])} to {points(one['ci95'][1])})"
        for one in larger
    )
    what = "training on the documents alone" if dose == NONE else dose
    return (
        f"More stops paying at {what}: no larger dose is significantly better ({gains}; a difference of "
        f"{100 * max(one['detectable'] for one in larger):.1f} points would be shown four times in five)."
    )


def markdown(result: Mapping[str, Any]) -> str:
    doses = result["doses"]
    kinds = list(next(iter(doses.values()))["kinds"])
    lines = [
        "# How much to derive",
        "",
        f"Written by `make dose-response`: seeds {', '.join(map(str, result['seeds']))}, {result['worlds']} worlds of "
        f"{result['facts']} facts each, {result['minutes']} minutes, commit",
        f"{result['commit'][:12]}. A dose of 4x is four samples of each prompt at temperature {result['temperature']}; every training "
        f"takes {result['steps']} steps, so that",
        "doses differ by their data only. `none` is training on the documents alone. A statement with several documents in sight is "
        f"kept where {result['min_agreement']}",
        "different prompts wrote it. The bundled model was pretrained for worlds like these; another model has another dose.",
        "",
        f"**{sentence(result)}**",
        "",
        "Share right, with 95 % intervals (bootstrap over worlds), mean over kinds first:",
        "",
        "| dose | mean | " + " | ".join(kinds) + " |",
        "| --- " * (2 + len(kinds)) + "|",
        *(
            f"| {dose} | {shown(one['accuracy'])} | "
            + " | ".join(shown(one["kinds"][k]) for k in kinds)
            + " |"
            for dose, one in doses.items()
        ),
        "",
        "What was derived, over all seeds; what reused outputs took counts as it did when they were written:",
        "",
        "| dose | prompts | rows kept | tokens kept | duplicates dropped | other rows dropped | rows that answer a probe | TFLOP | "
        "processor, s | price |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(derived_line(dose, one["derived"]) for dose, one in doses.items() if one["derived"]),
        "",
        "Differences of the mean over kinds, p adjusted by Holm over all pairs:",
        "",
        "| larger − smaller | points | 95 % interval | p | n |",
        "| --- | ---: | --- | ---: | ---: |",
        *(
            f"| {one['larger']} − {one['smaller']} | {points(one['value'])} | {points(one['ci95'][0])} to {points(one['ci95'][1])} | "
            f"{one['p_adjusted']:.3f} | {one['n']:,} |"
            for one in result["comparisons"]
        ),
    ]
    return "\n".join(lines) + "\n"


def derived_line(dose: str, one: Mapping[str, Any]) -> str:
    duplicates = one["dropped"].get("duplicate", 0)
    others = sum(one["dropped"].values()) - duplicates
    price = "" if one["price"] is None else f"{float(one['price']):.3g} {one['currency']}"
    cells = (one["prompts"], one["rows"], one["tokens"], duplicates, others, one["covered"])
    return (
        f"| {dose} | "
        + " | ".join(f"{cell:,}" for cell in cells)
        + f" | {one['flops'] / 1e12:.2f} | {one['compute_seconds']:.1f} | {price} |"
    )


def shown(one: Mapping[str, Any]) -> str:
    low, high = one["ci95"]
    return f"{100 * one['value']:.1f} % ({100 * low:.1f}–{100 * high:.1f}), n {one['n']:,}"


def points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
