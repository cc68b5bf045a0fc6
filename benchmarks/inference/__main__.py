"""`make bench-inference PARTS=short,warm,scoring,long,hop`"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.inference import bulk, hop, machine, material, parts, report, stored, throughput
from benchmarks.inference.contender import ROOT

ALL = parts.PARTS | {"hop": hop.hop, "throughput": throughput.throughput, "bulk": bulk.bulk}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Inference beside what else there is; a part takes 2 to 30 minutes."
    )
    parser.add_argument("--parts", default=",".join(ALL), help="by commas; default %(default)s")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--into", type=Path, default=ROOT / "benchmarks")
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := set(wanted) - set(ALL):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    with tempfile.TemporaryDirectory(prefix="ingrain-bench-") as temporary:
        root = Path(temporary)
        place = parts.Place(root / "model", root / "storage", root / "scratch")
        material.make_model(place.folder)
        stored.store(place.folder, place.storage)
        for name in wanted:
            described = machine.describe()
            print(f"{name}: load {described['load before']}", flush=True)
            report.RECORD.add(options.into, described, ALL[name](place, options.pairs))
            report.RECORD.write(options.into)
    print((options.into / report.RECORD.page).read_text())


if __name__ == "__main__":
    main()
