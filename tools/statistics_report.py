"""docs/statistics.json -> docs/statistics.md. Pure."""

from collections.abc import Mapping
from typing import Any

NAMES = {
    "share": "accuracy of a kind (Wilson, effective n)",
    "list": "F1 of a kind (clustered bootstrap)",
    "mean": "mean over kinds",
    "comparison": "difference between two methods, over kinds",
    "difference": "difference between two methods, one kind",
}


def markdown(result: Mapping[str, Any]) -> str:
    overall, studies = result["overall"], result["studies_per_scenario"]
    count = studies * len(result["scenarios"])
    lines = [
        "# How often the verdicts are right",
        "",
        f"`make check-statistics` simulates {count:,} studies, {studies} of each scenario, in which the truth is known, and runs them "
        "through the platform's own summing up, comparing, deciding and reporting. Probes share difficulty with their world and "
        "between methods. The rules: [decision 0004](decisions/0004-what-the-probes-can-tell.md). After the sign ± stands the Monte "
        "Carlo standard error.",
        "",
        "| what | bound | measured |",
        "| --- | --- | ---: |",
        f"| the cheapest adequate method is recommended, where the probes suffice | at least 95 % | {_rate(overall['right'])} |",
        f"| an adequate one is recommended, where the probes suffice | | {_rate(overall['adequate'])} |",
        f'| a false "better" anywhere in a study | at most 5 % | {_rate(overall["false_better"])} |',
        *(
            f"| 95 % intervals hold the truth: {name} | 94 to 96 % | {_rate(overall[key])} |"
            for key, name in NAMES.items()
        ),
        "",
        "Outside its bound by more than two Monte Carlo errors: "
        + ("; ".join(result["missed"]) or "nothing")
        + ".",
        "",
        "## By scenario",
        "",
        f"Adequate: true accuracy at most {100 * result['tolerance']:g} points below the best. Few questions are 10,000, many a "
        "million: then training is cheaper than documents in the context. Can be shown: the smallest difference between icl and "
        "augmented_finetune that the studies say they would find four times in five, in points.",
        "",
        '| scenario | worlds | probes | cheapest adequate | recommended | false "better" | can be shown |',
        "| --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {s['title']} | {s['worlds']} | {sum(s['probes'].values())} | {s['expected']} | {_rate(s['right'])} | "
        f"{_rate(s['false_better'])} | {100 * s['detectable']:.1f} |"
        for s in result["scenarios"]
    ]
    for s in result["scenarios"]:
        if not s["powered"]:
            lines += [
                "",
                f'"{s["title"].capitalize()}" is no failure of the rule but of the probes: without a significant difference the '
                f"cheapest wins, and the report says that differences under {100 * s['detectable']:.0f} points stay hidden. It is not "
                "among the studies where the probes suffice.",
            ]
    lines += [
        "",
        "Coverage of the 95 % intervals by scenario:",
        "",
        "| scenario | " + " | ".join(NAMES.values()) + " |",
        "| --- |" + " ---: |" * len(NAMES),
    ]
    lines += [
        f"| {s['title']} | " + " | ".join(_rate(s[key]) for key in NAMES) + " |" for s in result["scenarios"]
    ]
    cells = result["shares_by_clusters"]
    shared = list(dict.fromkeys(cell["shared"] for cell in cells))
    shapes = list(dict.fromkeys((cell["clusters"], cell["size"]) for cell in cells))
    found = {(cell["clusters"], cell["size"], cell["shared"]): cell["rate"] for cell in cells}
    mean = sum(found.values()) / len(found)
    kinds = cells[0]["kinds"]
    error = (0.05 * 0.95 / kinds) ** 0.5
    lines += [
        "",
        "## Wilson's interval by clusters",
        "",
        f"How often it holds the truth (true shares 30, 50, 80 and 95 %, half of the kinds with clusters of uneven size), by how much of "
        f"the latent difficulty a cluster shares. {kinds:,} kinds a cell, ± {error:.1%}; mean of all cells {mean:.1%}.",
        "",
        "| clusters | probes in each | " + " | ".join(f"shared {value:.0%}" for value in shared) + " |",
        "| ---: | ---: |" + " ---: |" * len(shared),
    ]
    lines += [
        f"| {clusters} | {size} | "
        + " | ".join(f"{found[clusters, size, value]:.1%}" for value in shared)
        + " |"
        for clusters, size in shapes
    ]
    return "\n".join([*lines, ""])


def _rate(value: Mapping[str, float]) -> str:
    return f"{value['rate']:.1%} ± {value['error']:.1%}"
