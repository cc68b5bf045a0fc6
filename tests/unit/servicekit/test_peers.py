"""Clients of other services are kept for one event loop."""

import asyncio

from servicekit.peers import gateway_client
from servicekit.settings import ServiceSettings


def test_a_client_is_one_in_its_loop_and_never_found_by_another() -> None:
    settings = ServiceSettings(gateway="127.0.0.1:1")

    async def clients() -> tuple[object, object, object]:
        one, again = gateway_client(settings, "projects/p"), gateway_client(settings, "projects/p")
        return one, again, gateway_client(settings, "projects/q")

    one, again, other_project = asyncio.run(clients())
    elsewhere, _, _ = asyncio.run(clients())
    assert one is again
    assert one is not other_project
    assert one is not elsewhere
