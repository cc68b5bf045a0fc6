"""Amounts and times for people: three digits and a unit."""


def size(byte_count: float) -> str:
    """`1.23 MB`; powers of a thousand."""
    return f"{count(byte_count, ' ')}B"


def count(number: float, between: str = "") -> str:
    """`1.23M`; what is below one keeps its own three digits."""
    for unit in ("", "k", "M", "G", "T", "P"):
        if abs(number) < 999.5:  # which three digits show as 1e+03
            return f"{number:.3g}{between}{unit}"
        number /= 1000
    return f"{number:.3g}{between}E"


def duration(seconds: float | None) -> str:
    """`1 h 5 min`, `2 min 3 s`, `5 min`, `4.20 s`, `12.3 ms`; empty for none and where it was not measured."""
    if not seconds:
        return ""
    if seconds < 1:
        return f"{three_digits(1000 * seconds)} ms"
    if seconds < 60:
        return f"{three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    parts = ((minutes, "min"), (rest, "s")) if minutes < 60 else ((minutes // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def short_duration(seconds: int) -> str:
    """`45s`, `3m12s`, `2h05m`: for a line that has no room."""
    minutes, rest = divmod(seconds, 60)
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def three_digits(value: float) -> str:
    """`1.23`, `12.3`, `123`, `1234`: never an exponent."""
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
