"""Documents that nobody wrote for this project, through the real augmenter: docs/real-documents.md.

    python -m tools.real_documents [--most-files 600] [--to docs/real-documents.md]

What is read is the documentation that came with the packages of this machine: README, licences, guides and manuals in the
virtual environment and, where there is one, the system's folder of package documentation. They are imported and split,
rows are derived by the strategies that ask no model, and sentences become `verbatim` probes, which the evaluator writes
without a model and here nobody checks. The page's last section is written by whoever read the rows, and stays.
"""

import argparse
import asyncio
import os
import random
import resource
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ingrain import AsyncClient
from ingrain.v1 import datasets_pb2
from servicekit import identity
from tools.platform import free_port, stop, wait_for_port
from tools.real_documents_page import Measured, written

PACKAGES = Path(sysconfig.get_path("purelib"))
SYSTEM = Path("/usr/share/doc")
ENDINGS = {".txt", ".md", ".rst", ".html", ".pdf", ".docx", ".csv", ".parquet", ".png", ".json"}
RARE = {".pdf", ".docx", ".csv", ".parquet"}
LISTS = {"top_level.txt", "entry_points.txt", "RECORD", "requirements.txt", "CMakeLists.txt"}
# Of a kind that nobody reads a few are enough to see that they are counted.
MOST_UNREAD = 5
UNREAD = {".png", ".json"}
LARGEST_BYTES = 20 << 20
SPLITTING = {"max_characters": 1500, "overlap_characters": 150}
WITHOUT_MODEL = ["reverse_words", "identity_bridge", "masked"]
DERIVED_FROM = 400  # rows; all would be as many again three times over
PROBED = 800  # sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most-files", type=int, default=600)
    parser.add_argument("--to", type=Path, default=Path("docs/real-documents.md"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingrain-real-") as scratch:
        sources = Path(scratch) / "imports" / "documents"
        collect(sources, arguments.most_files, random.Random(arguments.seed))
        measured = asyncio.run(measure(sources, Path(scratch), arguments.seed))
    before = arguments.to.read_text() if arguments.to.is_file() else ""
    arguments.to.write_text(written(measured, before))
    print(f"wrote {arguments.to}: {measured.dataset.row_count} rows of {sum(measured.files.values())} files")


def collect(into: Path, most: int, draw: random.Random) -> None:
    """Copies, under names that say which package they belong to; of more than `most` a part drawn at random."""
    found = [(path, f"packages/{path.relative_to(PACKAGES).as_posix()}") for path in readable(PACKAGES)]
    if SYSTEM.is_dir():
        found += [(path, f"system/{path.relative_to(SYSTEM).as_posix()}") for path in readable(SYSTEM)]
    # Few are of the rarer kinds: they all come along.
    rare = [item for item in found if RARE & set(item[0].suffixes)]
    common = sorted(set(found) - set(rare))
    chosen, unread = rare[: most // 4], Counter[str]()
    for item in draw.sample(common, len(common)):
        endings = UNREAD & set(item[0].suffixes)
        unread.update(endings)
        if any(unread[ending] > MOST_UNREAD for ending in endings):
            continue
        if len(chosen) < most:
            chosen.append(item)
    for path, name in chosen:
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def readable(folder: Path) -> Iterator[Path]:
    """What a person would call documents; of what is packed only what is that once it is unpacked."""
    for path in sorted(folder.rglob("*")):
        ending = path.suffix.lower()
        inner = Path(path.stem).suffix.lower() if ending == ".gz" else ending
        # Data of test suites is not documentation, nor are lists of what was installed.
        left_out = {"tests", "test", "testing"} & set(path.parts) or path.name in LISTS
        if inner in ENDINGS and not left_out and path.is_file() and path.stat().st_size <= LARGEST_BYTES:
            yield path


async def measure(sources: Path, scratch: Path, seed: int) -> Measured:
    measured = Measured(splitting=SPLITTING)
    measured.files = Counter(path.suffix.lower() for path in sources.rglob("*") if path.is_file())
    measured.size_bytes = sum(path.stat().st_size for path in sources.rglob("*") if path.is_file())
    async with augmenter(scratch) as client:
        uri = f"file://{sources}"
        with measured.timed("estimate"):
            estimate = await client.datasets.import_(uri, validate_only=True)
        measured.estimate = list(estimate.metadata.estimate.notes)
        with measured.timed("import"):
            measured.dataset = await finished(
                client.datasets.import_(uri, id="documents", splitting=SPLITTING)
            )
        measured.rows = [row async for row in client.datasets.rows("documents")]
        draw = random.Random(seed)
        part = draw.sample(measured.rows, min(DERIVED_FROM, len(measured.rows)))
        await client.datasets.upload(part, id="part")
        with measured.timed("derive"):
            measured.made = await finished(
                client.datasets.augment(
                    "part",
                    "",
                    id="derived",
                    strategies=WITHOUT_MODEL,
                    samples_per_document=1,
                    seed=seed,
                    gates={"max_characters": 8000},
                )
            )
        measured.derived = [row async for row in client.datasets.rows("derived")]
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured.memory_bytes = taken.ru_maxrss * 1024
    measured.processor_s = taken.ru_utime + taken.ru_stime
    with measured.timed("probe"):
        measured.probes, measured.dropped = probes(measured.rows, draw)
    return measured


def probes(rows: list[dict[str, Any]], draw: random.Random) -> tuple[list[dict[str, Any]], Counter[str]]:
    """`verbatim` ones as the evaluator drafts them, each sentence asked for its last phrase; unchecked."""
    from ingrain.v1 import evaluator_pb2
    from services.evaluator.writing.cloze import draft
    from services.evaluator.writing.drafts import Dropped
    from services.evaluator.writing.sources import pools_of

    pool = pools_of(rows, evaluator_pb2.ProbeSpec())[""]
    sentences = [(document, sentence) for document in pool.documents for sentence in document.sentences]
    made, dropped = [], Counter[str]()
    for document, sentence in draw.sample(sentences, min(PROBED, len(sentences))):
        try:
            written_ = draft("verbatim", sentence, [document], pool, draw)
        except Dropped as reason:
            dropped[str(reason)] += 1
        else:
            choices = [written_.right, *written_.wrong]
            made.append({"prompt": written_.prompt, "choices": choices, "source": document.id})
    return made, dropped


async def finished(starting: Any) -> datasets_pb2.Dataset:
    return await (await starting).result(timeout_s=600)


@asynccontextmanager
async def augmenter(scratch: Path) -> AsyncIterator[AsyncClient]:
    """A process of the augmenter alone, spoken to as the gateway speaks to it."""
    port, token = free_port(), secrets.token_hex(16)
    variables = {
        "INGRAIN_PORT": str(port),
        "INGRAIN_GATEWAY_TOKEN": token,
        "INGRAIN_DATABASE_URL": f"sqlite:///{scratch}/augmenter.db",
        "INGRAIN_STORAGE": f"file://{scratch}/storage",
        "INGRAIN_IMPORT_ROOT": str(scratch / "imports"),
    }
    with (scratch / "augmenter.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.augmenter"],
            env=os.environ | variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    metadata = (
        (identity.GATEWAY_TOKEN, token),
        (identity.CALLER_KIND, "user"),
        (identity.CALLER_ID, "real-documents"),
        (identity.CALLER_PROJECT, "projects/real"),
    )
    try:
        wait_for_port(port, 60)
        async with AsyncClient(f"127.0.0.1:{port}", project="projects/real", metadata=metadata) as client:
            yield client
    finally:
        started = time.monotonic()
        stop(process)
        assert time.monotonic() - started < 60


if __name__ == "__main__":
    main()
