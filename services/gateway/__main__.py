"""`python -m services.gateway`: settings, stores, serve."""

import asyncio

from services.gateway.server import serve
from services.gateway.settings import GatewaySettings

if __name__ == "__main__":
    asyncio.run(serve(GatewaySettings()))
