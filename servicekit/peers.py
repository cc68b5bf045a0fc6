"""Other services, through the gateway, with the SDK that users have."""

from functools import lru_cache

from ingrain import AsyncClient
from servicekit.identity import ON_BEHALF_OF
from servicekit.settings import ServiceSettings


def gateway_client(settings: ServiceSettings, project: str) -> AsyncClient:
    """A client with this service's credential, acting for `projects/p`. One per project and process."""
    return _client(settings.gateway, settings.service_token.get_secret_value(), project)


@lru_cache(maxsize=256)
def _client(gateway: str, token: str, project: str) -> AsyncClient:
    return AsyncClient(gateway, project=project, api_key=token, metadata=((ON_BEHALF_OF, project),))
