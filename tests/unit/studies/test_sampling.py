import pytest

from services.studies.sampling import content_id, sample


def rows(groups: int, each: int) -> list[dict]:
    return [
        {"id": f"{g}-{i}", "text": f"{g} {i}", "metadata": {"world": f"w{g}", "fact": str(i // 2)}}
        for g in range(groups)
        for i in range(each)
    ]


def test_whole_groups_evenly_over_all_of_them() -> None:
    found = sample(rows(40, 4), rows(40, 3), "world", "fact")
    assert {row["metadata"]["world"] for row in found.documents} == {f"w{5 * i}" for i in range(8)}
    assert (len(found.documents), len(found.probes)) == (32, 24)
    assert (found.document_share, found.probe_share) == (0.2, 0.2)


def test_shares_are_of_what_is_read() -> None:
    """A world of eight documents of four facts is twice one of four of two."""
    uneven = [*rows(1, 8), *[{**r, "metadata": {**r["metadata"], "world": "b"}} for r in rows(1, 4)]]
    found = sample(uneven, rows(1, 2), "world", "fact")
    assert found.document_share == 1.0
    assert found.probe_share == 1.0


def test_without_groups_all_documents_are_read_and_some_probes_asked() -> None:
    found = sample(rows(1, 200), rows(1, 128), "")
    assert (len(found.documents), found.document_share) == (200, 1.0)
    assert (len(found.probes), found.probe_share) == (64, 0.5)


def test_ids_follow_from_the_content() -> None:
    assert content_id("trial", rows(1, 2)) == content_id("trial", rows(1, 2))
    assert content_id("trial", rows(1, 2)) != content_id("trial", rows(1, 3))
    assert content_id("trial", []).startswith("trial-")


def test_few_of_everything() -> None:
    found = sample(rows(2, 1), rows(2, 1), "world")
    assert (found.document_share, found.probe_share) == pytest.approx((1.0, 1.0))
