"""The Aliases service: proto -> domain call -> proto."""

from typing import Any

from google.protobuf import empty_pb2

from ingrain.v1 import aliases_pb2 as pb
from ingrain.v1 import aliases_pb2_grpc
from servicekit import identity
from services.inference.aliases import Aliases


class AliasServicer(aliases_pb2_grpc.AliasesServicer):
    def __init__(self, aliases: Aliases) -> None:
        self._aliases = aliases

    async def PromoteAlias(self, request: pb.PromoteAliasRequest, context: Any) -> pb.Alias:
        return await self._aliases.promote(request)

    async def RollBackAlias(self, request: pb.RollBackAliasRequest, context: Any) -> pb.Alias:
        return await self._aliases.roll_back(request)

    async def GetAlias(self, request: pb.GetAliasRequest, context: Any) -> pb.Alias:
        identity.authorize(request.name)
        return await self._aliases.rows.get(request.name)

    async def ListAliases(self, request: pb.ListAliasesRequest, context: Any) -> pb.ListAliasesResponse:
        identity.authorize(request.parent)
        page, token = await self._aliases.rows.list(request.parent, request.page_size, request.page_token)
        return pb.ListAliasesResponse(aliases=page, next_page_token=token)

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, context: Any) -> empty_pb2.Empty:
        identity.authorize(request.name)
        await self._aliases.delete(request.name)
        return empty_pb2.Empty()
