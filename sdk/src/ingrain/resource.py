"""What the clients of all resources share: names, pages, streams that go on after an outage."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message

from ingrain import errors
from ingrain.names import full_name

if TYPE_CHECKING:
    from ingrain.client import AsyncClient

OUTAGE_S = 120.0  # how long the platform may be unreachable while we wait for something long

M = TypeVar("M", bound=Message)


class Resource:
    """Base of `client.datasets`, `client.models` and so on."""

    collection = ""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    def _name(self, name: str) -> str:
        return full_name(self._client.parent, self.collection, name)


async def pages(method: Callable[..., Any], request: Any, field: str) -> AsyncIterator[Any]:
    """The items of every page of a List method."""
    while True:
        page = await method(request)
        for item in getattr(page, field):
            yield item
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def resumed(
    stream: Callable[[int], AsyncIterator[Any]], start: int, position_after: Callable[[Any], int]
) -> AsyncIterator[Any]:
    """The messages of `stream(start)`; after UNAVAILABLE goes on with `stream(position)` up to OUTAGE_S."""
    position, reachable, pause_s = start, time.monotonic(), 0.2
    while True:
        try:
            async for message in stream(position):
                position, reachable, pause_s = position_after(message), time.monotonic(), 0.2
                yield message
            return
        except errors.Unavailable:
            if time.monotonic() - reachable > OUTAGE_S:
                raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)


def message_from(kind: type[M], **fields: Any) -> M:
    """A message from keywords; enum values by name in any case. Raises Invalid naming a field that is wrong."""
    known = kind.DESCRIPTOR.fields_by_name
    for name, value in fields.items():
        if name not in known:
            raise errors.Invalid(f"{kind.__name__} has no `{name}`; it has {', '.join(known)}")
        if known[name].enum_type is not None and isinstance(value, str):
            fields[name] = value.upper()
    try:
        return kind(**{name: value for name, value in fields.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise errors.Invalid(f"{kind.__name__}: {error}") from None
