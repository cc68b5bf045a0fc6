"""Beginning long work so that a command that is run again finds it instead of paying twice.

The id of the first request is the one that the command was given (a pod's Job has one that all its pods share). Where
what that began has failed by the platform's own fault, the next id in a fixed order begins it anew.
"""

import hashlib
import uuid
from collections.abc import Callable

from ingrain import Operation, errors
from ingrain.cli.ending import is_platforms
from ingrain.cli.output import stderr

MOST_ATTEMPTS = 20


def begun(given: str, create: Callable[[str], Operation]) -> Operation:
    """What `create` began with the first id of `given` that did not fail by the platform's fault; an id of its own
    where none was given. Found again it says so."""
    if not given:
        return create("")
    for number in range(MOST_ATTEMPTS):
        operation = create(request_id(given, number))
        if not failed_by_platform(operation):
            if operation.done:
                stderr.print(f"Found: {operation.name} has ended before.", soft_wrap=True)
            return operation
        stderr.print(f"{operation.name} failed by the platform's fault; it is begun anew.", soft_wrap=True)
    raise errors.Internal(f"{MOST_ATTEMPTS} attempts have failed by the platform's fault; see its log")


def request_id(given: str, number: int = 0) -> str:
    """A UUID stays itself at first; of any other text one is made."""
    try:
        first = uuid.UUID(given)
    except ValueError:
        first = uuid.UUID(bytes=hashlib.sha256(given.encode()).digest()[:16], version=4)
    return str(uuid.uuid5(first, str(number)) if number else first)


def failed_by_platform(operation: Operation) -> bool:
    status = operation.operation
    if not status.done or not status.HasField("error"):
        return False
    return is_platforms(errors.from_status(status.error, operation=operation.name))
