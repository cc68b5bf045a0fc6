from ingrain.units import count, duration, short_duration, size


def test_amounts_have_three_digits_and_a_unit() -> None:
    assert [size(n) for n in (0, 20, 20_000, 1_234_567, 64_300_000_000, 2e12)] == [
        "0 B", "20 B", "20 kB", "1.23 MB", "64.3 GB", "2 TB",
    ]  # fmt: skip
    assert [count(n) for n in (7, 999, 999.6, 999_960, 1.5e18, -1200)] == [
        "7", "999", "1k", "1M", "1.5E", "-1.2k",
    ]  # fmt: skip


def test_times_have_three_digits_or_two_units() -> None:
    assert [duration(v) for v in (None, 0, 0.0123, 4.2, 59.99, 125, 300, 3900, 7200)] == [
        "", "", "12.3 ms", "4.20 s", "60.0 s", "2 min 5 s", "5 min", "1 h 5 min", "2 h",
    ]  # fmt: skip
    assert [short_duration(s) for s in (0, 5, 65, 7500)] == ["0s", "5s", "1m05s", "2h05m"]
