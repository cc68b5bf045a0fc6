"""Other services, through the gateway, with the SDK that users have."""

import asyncio
from functools import lru_cache
from weakref import WeakKeyDictionary

from ingrain import AsyncClient
from servicekit.identity import ON_BEHALF_OF, tokens
from servicekit.settings import ServiceSettings

# A client's calls belong to the event loop in which it was made: another loop must not find it.
_of_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, Clients]" = WeakKeyDictionary()


def gateway_client(settings: ServiceSettings, project: str) -> AsyncClient:
    """A client with this service's credential, acting for `projects/p`. One per project and event loop."""
    clients = _of_loop.setdefault(asyncio.get_running_loop(), Clients())
    shown, *_ = tokens(settings.service_token.get_secret_value())
    return clients.get(settings.gateway, shown, project)


class Clients:
    """The least recently used ones go."""

    def __init__(self) -> None:
        self.get = lru_cache(maxsize=256)(_client)


def _client(gateway: str, token: str, project: str) -> AsyncClient:
    return AsyncClient(gateway, project=project, api_key=token, metadata=((ON_BEHALF_OF, project),))
