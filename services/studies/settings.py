"""What studies need beyond `ServiceSettings`."""

from pathlib import Path

from servicekit.settings import ServiceSettings


class StudiesSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`."""

    watch_poll_s: float = 0.25  # how often a watcher looks for new events
    heartbeat_s: float = 15.0  # after so long without an event a watcher is told that the stream lives
    prices: Path | None = (
        None  # the operator's price table, a PriceTable as JSON; money is shown only with one
    )
