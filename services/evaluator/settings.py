"""What the evaluator needs beyond `ServiceSettings`."""

from servicekit.settings import ServiceSettings


class EvaluatorSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`."""

    probe_batch: int = 128  # probes per call, and per entry of the journal
