"""Structured logs: one JSON line each, on stderr, without secrets."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_SECRET = re.compile(r"token|secret|password|authorization|key", re.IGNORECASE)


def configure(service: str, level: str = "info") -> None:
    def name_service(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        return {"service": service, **event}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            name_service,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", key="ts"),
            # Local variables of a traceback's frames hold credentials; structlog would print them.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            redact,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Values under telling names never reach a log, at any depth; token counts do."""
    return {key: "[redacted]" if is_secret(key) else redacted(value) for key, value in event.items()}


def is_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not name.endswith(("count", "tokens"))


def redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "[redacted]" if is_secret(str(key)) else redacted(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value
