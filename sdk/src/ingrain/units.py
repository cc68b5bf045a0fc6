"""Amounts for people: three digits and a unit."""


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
