"""How long what is under way will take, from how long it has taken so far. Pure."""


def pace(done: int, left: int, seconds: float, unit: str) -> str:
    """`12.5 rows/s, about 3 min left`; empty where nothing is done yet, or nothing is left. `seconds`: that `done` took."""
    if done <= 0 or seconds <= 0 or left <= 0:
        return ""
    rate = done / seconds
    return f"{rate:.3g} {unit}/s, about {in_words(left / rate)} left"


def in_words(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"
