import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from servicekit.telemetry import configure, is_secret, redact

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was logged so far."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure("trainer", "info")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "name", ["token", "service_token", "S3_SECRET", "authorization", "api_key", "s3_access_key", "password"]
)
def test_secrets_are_not_logged_at_any_depth(name: str) -> None:
    event = redact(None, "info", {name: "canary", "deep": [{"deeper": {name: "canary"}}], "other": "seen"})
    assert "canary" not in json.dumps(event)
    assert event["other"] == "seen"


@pytest.mark.parametrize("name", ["prompt_token_count", "tokens", "method", "project"])
def test_counts_of_tokens_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


def test_a_line_is_json_with_service_time_and_level(lines: Lines) -> None:
    structlog.get_logger().info("call", ms=3)
    (line,) = lines()
    assert (line["service"], line["level"], line["event"], line["ms"]) == ("trainer", "info", "call", 3)
    assert line["ts"].endswith("Z")


def test_below_the_level_nothing_is_written(lines: Lines) -> None:
    structlog.get_logger().debug("noise")
    assert lines() == []


def test_tracebacks_hold_no_local_variables(lines: Lines) -> None:
    def fails() -> None:
        password = "canary" + str(len("x"))
        raise RuntimeError(f"{len(password)} characters")

    try:
        fails()
    except RuntimeError as error:
        structlog.get_logger().error("broke", exc_info=error)
    (line,) = lines()
    assert "canary1" not in json.dumps(line)
    assert "fails" in json.dumps(line["exception"])
    assert "7 characters" in json.dumps(line["exception"])
