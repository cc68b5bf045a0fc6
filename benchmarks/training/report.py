"""The page of training."""

from benchmarks.record import Found, Record, number, row, spread

HEAD = """# Training: what was measured

`make bench-training` writes this page (`PARTS=full-30m,ray` for some of it; the latest run of each part is shown). Tokens a second without padding,
the best of all turns; ratios are ours above theirs, as the median of neighbouring turns with a 95 % bootstrap interval, on the wall and by
processor seconds. One thread each. MFU is (k N tokens + 12 layers width positions looked at) / (seconds x GEMM peak measured beside it), with k = 6 for
all weights and 4 for adapters (`services/trainer/metering.py`). TRL 1.16 trains in bf16 by default, so its default is no float32 training.
Goals are those of the project.
"""


def table(found: Found) -> list[str]:
    lines = [
        "| beside | ours (tokens/s) | other (tokens/s) | ratio | by processor seconds | goal |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in found["lines"]:
        cells = [line["what"], f"{line['ours']:.0f}", f"{line['theirs']:.0f}"]
        lines.append(row([*cells, spread(line["ratio"]), spread(line["busy_ratio"]), number(line["goal"])]))
    return lines


RECORD = Record("training.jsonl", "TRAINING.md", "SPENT-TRAINING.md", HEAD, table)
