"""What an upload did, as the command line tells it."""

from ingrain.cli.counted import read, skipped
from ingrain.v1.datasets_pb2 import Dataset


def test_what_was_read_and_what_was_not() -> None:
    dataset = Dataset(
        counts={
            "documents from .md": 1200,
            "files .csv": 2,
            "skipped.png": 3,
            "skipped (no ending)": 1,
            "skipped empty files": 2,
            "skipped no text: a: b/scan.pdf": 1,
            "skipped encrypted: others": 1400,
        }
    )
    assert read(dataset) == "1,200 documents from .md\n2 files .csv"
    assert skipped(dataset).split("\n") == [
        "1 (no ending)",
        "2 empty files",
        "1,400 others: encrypted",
        "a: b/scan.pdf: no text",
        "3 .png",
    ]


def test_a_long_list_ends() -> None:
    dataset = Dataset(counts={f"skipped no text: {n}.pdf": 1 for n in range(30)})
    assert skipped(dataset).split("\n")[-1] == "and 10 more: -o json"
    assert read(dataset) == ""
