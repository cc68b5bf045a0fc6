"""The page of `tools.real_documents`: what was read, what was not, and rows as they are."""

import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ingrain.cli.counted import read, skipped
from ingrain.units import size
from ingrain.v1 import datasets_pb2

BY_EYE = "## What is wrong with them"
SHOWN_CHARACTERS = 700
_OF_A_MACHINE = re.compile(
    r"(?:^|[\s\"'(=])/(?:root|home|work|usr|var|etc|tmp|opt)\b|[a-z]:\\|https?://", re.IGNORECASE
)


@dataclass
class Measured:
    splitting: Mapping[str, int]
    files: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    estimate: list[str] = field(default_factory=list)
    dataset: datasets_pb2.Dataset = field(default_factory=datasets_pb2.Dataset)
    made: datasets_pb2.Dataset = field(default_factory=datasets_pb2.Dataset)
    rows: list[dict[str, Any]] = field(default_factory=list)
    derived: list[dict[str, Any]] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    times_s: dict[str, float] = field(default_factory=dict)
    memory_bytes: int = 0
    processor_s: float = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.times_s[name] = time.monotonic() - started


def written(measured: Measured, before: str) -> str:
    """The whole page; of the one before the section that a person wrote is kept."""
    by_eye = before.partition(BY_EYE)[2].strip() or "Nobody has read them yet."
    lengths = [len(row["text"]) for row in measured.rows]
    split_rows = [row for row in measured.rows if "source" in (row.get("metadata") or {})]
    times = measured.times_s
    kept = measured.made.provenance
    return "\n".join(
        [
            "# Documents that nobody wrote for this project",
            "",
            "`make real-documents` takes the documentation that came with this machine's packages (READMEs, licences, guides, manuals), imports "
            "it through a real augmenter process, splits it, derives rows by the strategies that ask no model and cuts `verbatim` probes out of "
            "it. Which files there are depends on the machine; another one gives other numbers. No model has read any of it: what a capable "
            "model would derive from such documents has not been tried. Times are by the clock of a machine that had other work, too; what was "
            "taken of a processor is the figure to go by.",
            "",
            "| | |",
            "| --- | --- |",
            f"| files | {sum(measured.files.values()):,} with {size(measured.size_bytes)}: {_counted(measured.files)} |",
            f"| looked through (`--estimate`) | {times['estimate']:.1f} s |",
            f"| imported and split | {times['import']:.1f} s, {size(round(measured.size_bytes / times['import']))}/s |",
            f"| rows | {measured.dataset.row_count:,} with {size(measured.dataset.size_bytes)}; {len(split_rows):,} of them parts of "
            f"{measured.dataset.counts['documents split']:,} documents longer than {measured.splitting['max_characters']:,} characters |",
            f"| characters of a row | median {median(lengths):,.0f}, longest {max(lengths):,} |",
            f"| derived without a model | {len(measured.derived):,} rows ({_counted(kept.kept_counts)}) of {len(_sources(measured)):,} rows in "
            f"{times['derive']:.1f} s; dropped: {_counted(kept.dropped_counts) or 'none'} |",
            f"| extractive probes, unchecked | {len(measured.probes):,} of {len(measured.probes) + measured.dropped.total():,} sentences in "
            f"{times['probe']:.1f} s; dropped: {_counted(measured.dropped)} |",
            f"| the augmenter and its parsers, all of the above but the probes | {measured.processor_s:.1f} s of a processor |",
            f"| greatest memory of a process | {size(measured.memory_bytes)} |",
            "",
            "## What was read",
            "",
            _fenced(read(measured.dataset)),
            "",
            "## What was skipped, and why",
            "",
            _fenced(skipped(measured.dataset) or "nothing"),
            "",
            "## Ten rows",
            "",
            *_rows(measured.rows, 10),
            "## Three derived rows",
            "",
            *(line for name in kept.kept_counts for line in _rows(_of(measured.derived, name), 1)),
            "## Three probes",
            "",
            *_probes(measured.probes),
            BY_EYE,
            "",
            by_eye,
            "",
        ]
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items(), key=lambda item: -item[1]))


def _sources(measured: Measured) -> set[str]:
    return {source for row in measured.derived for source in row["provenance"]["source_rows"]}


def _of(rows: Sequence[dict[str, Any]], strategy: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["provenance"]["strategy"] == strategy]


def _rows(rows: Sequence[dict[str, Any]], count: int) -> Iterator[str]:
    """Drawn, not chosen; but for rows with addresses or with paths of some machine in what is shown of them."""
    shown = [row for row in rows if not _OF_A_MACHINE.search(_clipped(row["text"]))]
    for row in random.Random(7).sample(shown, min(count, len(shown))):
        told = {
            k: v for k, v in (row.get("metadata") or {}).items() if k in ("heading", "start", "end", "pages")
        }
        origin = row.get("provenance", {})
        named = (
            f"`{row['id']}`"
            if "id" in row and not origin
            else f"`{origin.get('strategy')}` of `{origin['source_rows'][0]}`"
        )
        yield f"{named} {told or ''}".rstrip()
        yield ""
        yield _fenced(_clipped(row["text"]))
        yield ""


def _probes(probes: Sequence[dict[str, Any]]) -> Iterator[str]:
    shown = [probe for probe in probes if not _OF_A_MACHINE.search(probe["prompt"])]
    for probe in random.Random(7).sample(shown, min(3, len(shown))):
        right, *wrong = probe["choices"]
        yield f"- {probe['prompt']} **{right}** (not: {'; '.join(wrong)})"
    yield ""


def _clipped(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS].rstrip()} [...]"


def _fenced(text: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}text\n{text}\n{fence}"
