"""Numbers as people read them, for sentences and tables alike. Pure."""

from ingrain.units import three_digits


def si(value: float | None, unit: str = "FLOP") -> str:
    """`3.2 TFLOP`: three digits with a prefix."""
    if value is None:
        return ""
    if value == 0:
        return "none"
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{three_digits(value / size)} {prefix}{unit}"
    return f"{three_digits(value)} {unit}"


def share(value: float, digits: int = 1) -> str:
    """`95.6 %`."""
    return f"{100 * value:.{digits}f} %"


def points(difference: float) -> str:
    """A difference in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")
