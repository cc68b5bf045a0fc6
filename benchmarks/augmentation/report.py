"""The page of augmentation."""

from benchmarks.record import Found, Record, number, row, spread

HEAD = """# Augmentation: what was measured

`make bench-augmentation` writes this page (`PARTS=rate,near` for some of it; the latest run of each part is shown). Ratios say how many times longer
the other takes, as the median of neighbouring turns with a 95 % bootstrap interval; seconds are the best of all turns. One thread each, fp32.
No turn repeats the documents of another, for what was asked before is not asked again. Goals are those of the project.
"""


def table(found: Found) -> list[str]:
    lines = ["| | ours (s) | other (s) | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    for line in found["lines"]:
        cells = [line["what"], number(line["ours_s"]), number(line["theirs_s"]), spread(line["ratio"])]
        lines.append(row([*cells, number(line["goal"])]))
    return lines


RECORD = Record("augmentation.jsonl", "AUGMENTATION.md", "SPENT-AUGMENTATION.md", HEAD, table)
