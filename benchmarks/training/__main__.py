"""`make bench-training PARTS=full-30m,ray`"""

import argparse
from pathlib import Path

from benchmarks.inference import machine
from benchmarks.training import parts, report
from benchmarks.training.contender import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The trainer beside TRL, and in Ray beside itself; a part takes 3 to 8 minutes."
    )
    parser.add_argument("--parts", default=",".join(parts.DEFAULT), help="by commas; default %(default)s")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--into", type=Path, default=ROOT / "benchmarks")
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := set(wanted) - set(parts.PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts.PARTS)}")
    options.into.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        described = machine.describe()
        print(f"{name}: load {described['load before']}", flush=True)
        report.RECORD.add(options.into, described, parts.PARTS[name](options.pairs))
        report.RECORD.write(options.into)
    print((options.into / report.RECORD.page).read_text())


if __name__ == "__main__":
    main()
