"""The page of inference."""

from benchmarks.record import Found, Record, number, row, spread

HEAD = """# Inference: what was measured

What was measured of training stands in [TRAINING.md](TRAINING.md).

`make bench-inference` writes this page (`PARTS=short,warm` for some of it; the latest run of each part is shown). Ratios say how many times longer the other takes, as
the median of neighbouring turns with a 95 % bootstrap interval; seconds are the best of all turns. One thread each, fp32, a Llama
shape of 135 million random weights unless said otherwise. "Limit" is the ratio of floating-point operations that cannot be done without
(`benchmarks/inference/limits.py`); goals are those of the project.
"""


def table(found: Found) -> list[str]:
    lines = [
        "| | ours (s) | other (s) | ratio | limit | of it | goal |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in found["lines"]:
        limit = line["limit"]
        of_it = f"{line['ratio']['median'] / limit:.0%}" if limit else ""
        cells = [line["what"], number(line["ours_s"]), number(line["theirs_s"]), spread(line["ratio"])]
        lines.append(row([*cells, number(limit), of_it, number(line["goal"])]))
    return lines


RECORD = Record("results.jsonl", "RESULTS.md", "SPENT.md", HEAD, table)
