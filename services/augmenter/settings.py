"""What the augmenter needs beyond `ServiceSettings`."""

from servicekit.settings import ServiceSettings


class AugmenterSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`."""

    most_rows: int = 10_000_000
    prompt_batch: int = 128  # prompts per call of Generate, and per object of outputs
