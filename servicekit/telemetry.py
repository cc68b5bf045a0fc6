"""Structured logs: one JSON line each, on stderr, without secrets."""

import logging
import re
import sys
from typing import Any

import structlog

_SECRET = re.compile(r"token|secret|password|authorization|api_?key", re.IGNORECASE)


def configure(service: str, level: str = "info") -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", key="ts"),
            structlog.processors.dict_tracebacks,
            redact,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)


def redact(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Values under telling names never reach a log; token counts do."""
    return {
        key: "[redacted]" if _SECRET.search(key) and not key.endswith(("count", "tokens")) else value
        for key, value in event.items()
    }
