"""What the augmenter needs beyond `ServiceSettings`."""

from pathlib import Path

from servicekit.settings import ServiceSettings


class AugmenterSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`."""

    most_rows: int = 10_000_000
    prompt_batch: int = 64  # prompts per call of Generate, and per object of outputs
    endpoint_prompt_batch: int = 16  # the same where another server answers: what a crash may pay for again
    prompt_calls: int = 4  # calls of Generate at once, for each derivation
    patience_s: float = 600.0  # how long inference may answer nothing before an attempt is given up
    prices: Path | None = (
        None  # the operator's price table, a PriceTable as JSON; money is shown only with one
    )
