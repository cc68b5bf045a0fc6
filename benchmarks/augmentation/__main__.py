"""`make bench-augmentation PARTS=rate,local,global,near`"""

import argparse
from pathlib import Path

from benchmarks.augmentation import loops, near, rate, report
from benchmarks.inference import machine
from benchmarks.inference.contender import ROOT

PARTS = {"rate": rate.rate, "local": loops.local, "global": loops.whole, "near": near.near}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Augmentation beside what else there is; a part takes 1 to 6 minutes."
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="by commas; default %(default)s")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--tiny", action="store_true", help="a try of the benchmark itself, its numbers mean nothing"
    )
    parser.add_argument("--into", type=Path, default=ROOT / "benchmarks")
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    options.into.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        described = machine.describe()
        print(f"{name}: load {described['load before']}", flush=True)
        report.RECORD.add(options.into, described, PARTS[name](options.pairs, options.tiny))
        report.RECORD.write(options.into)
    print((options.into / report.RECORD.page).read_text())


if __name__ == "__main__":
    main()
