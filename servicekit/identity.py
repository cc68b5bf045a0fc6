"""Who is calling, and what may be seen. The gateway says who; services only compare projects."""

import hmac
from contextvars import ContextVar
from dataclasses import dataclass

from servicekit.errors import Invalid, NotFound

GATEWAY_TOKEN = "ingrain-gateway-token"
CALLER_KIND = "ingrain-caller-kind"
CALLER_ID = "ingrain-caller-id"
CALLER_PROJECT = "ingrain-caller-project"
CALLER_READ_ONLY = "ingrain-caller-read-only"
ON_BEHALF_OF = "ingrain-on-behalf-of"
REQUEST_ID = "x-request-id"
ALL_PROJECTS = "*"
GREATEST_NAME = 255


@dataclass(frozen=True)
class Caller:
    """`kind` is `user`, `service` or `operator`; `project` is `projects/p`, or `*` for all. `scopes` are known to the
    gateway alone, which lets nothing else pass; empty: everything."""

    kind: str
    id: str
    project: str
    read_only: bool = False
    scopes: frozenset[str] = frozenset()


OPERATOR = Caller("operator", "local", ALL_PROJECTS)
_caller: ContextVar[Caller] = ContextVar("caller", default=OPERATOR)


def tokens(setting: str) -> tuple[str, ...]:
    """`new,old`: the first is shown to others, all are taken from them, so that one can take the other's place without a
    moment at which two processes disagree."""
    return tuple(filter(None, (token.strip() for token in setting.split(",")))) or (setting,)


def is_one_of(shown: str, setting: str) -> bool:
    """In a time that does not tell how much of a token is right."""
    return any(hmac.compare_digest(shown.encode(), token.encode()) for token in tokens(setting))


def caller() -> Caller:
    return _caller.get()


def set_caller(value: Caller) -> None:
    _caller.set(value)


def is_service() -> bool:
    """Whether the caller may see where bytes lie."""
    return caller().kind == "service"


def authorize(name: str) -> str:
    """The project of a resource or parent, `projects/p`. Another tenant's name reads like one that does not exist."""
    parts = name.split("/")
    if not name.isprintable() or len(name) > GREATEST_NAME:
        raise Invalid(
            "BAD_NAME", f"a resource name has at most {GREATEST_NAME} printable characters", field="name"
        )
    if len(parts) < 2 or parts[0] != "projects" or not parts[1]:
        raise Invalid("BAD_NAME", f"{name!r} is no resource name; it begins with projects/", field="name")
    project = "/".join(parts[:2])
    if caller().project not in (ALL_PROJECTS, project):
        raise not_found(name)
    return project


def not_found(name: str) -> NotFound:
    return NotFound("RESOURCE_NOT_FOUND", f"{name} does not exist", resource=name)
