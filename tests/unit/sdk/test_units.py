from ingrain.units import count, size


def test_amounts_have_three_digits_and_a_unit() -> None:
    assert [size(n) for n in (0, 20, 20_000, 1_234_567, 64_300_000_000, 2e12)] == [
        "0 B", "20 B", "20 kB", "1.23 MB", "64.3 GB", "2 TB",
    ]  # fmt: skip
    assert [count(n) for n in (7, 999, 999.6, 999_960, 1.5e18, -1200)] == [
        "7", "999", "1k", "1M", "1.5E", "-1.2k",
    ]  # fmt: skip
