"""`client.aliases`: names for callers that stay while what answers behind them changes."""

from collections.abc import AsyncIterator, Mapping

from ingrain.names import full_name
from ingrain.resource import Resource, pages
from ingrain.v1 import aliases_pb2 as pb


class AsyncAliases(Resource):
    collection = "aliases"

    async def promote(
        self,
        name: str,
        target: str,
        evaluation: str = "",
        gate_probes: str = "",
        least: Mapping[str, float] | None = None,
        etag: str = "",
    ) -> pb.Alias:
        """Lets the alias stand for a model, `icl:<dataset>@<model>`, `rag:<dataset>@<model>` or `auto:<study>` from now on.

        `gate_probes` and `least` (least value by kind of probe) set the gate that this and every later target must
        pass, as `evaluation` shows. Raises WrongState `BELOW_GATE`, and Busy where the alias has another `etag`.
        """
        request = pb.PromoteAliasRequest(
            name=self._name(name), target=self._client.model_name(target), etag=etag
        )
        if evaluation:
            request.evaluation = full_name(self._client.parent, "evaluations", evaluation)
        if gate_probes or least:
            probes = full_name(self._client.parent, "datasets", gate_probes)
            request.gate.CopyFrom(pb.Gate(probes=probes, least=least))
        return await self._client.stubs.aliases.PromoteAlias(request)

    async def roll_back(self, name: str, etag: str = "") -> pb.Alias:
        """Lets the alias stand again for what it stood for before. Without an etag, from what it is at the call: a
        request that is sent twice goes back once."""
        etag = etag or (await self.get(name)).etag
        return await self._client.stubs.aliases.RollBackAlias(
            pb.RollBackAliasRequest(name=self._name(name), etag=etag)
        )

    async def get(self, name: str) -> pb.Alias:
        return await self._client.stubs.aliases.GetAlias(pb.GetAliasRequest(name=self._name(name)))

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Alias]:
        """Newest first."""
        request = pb.ListAliasesRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.aliases.ListAliases, request, "aliases")

    async def delete(self, name: str) -> None:
        """What it stood for stays."""
        await self._client.stubs.aliases.DeleteAlias(pb.DeleteAliasRequest(name=self._name(name)))
