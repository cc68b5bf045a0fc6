"""The fake's Aliases: names that stay, gates, roll back."""

import uuid
from typing import Any

from google.protobuf import empty_pb2

from ingrain.testing.library import Library
from ingrain.testing.store import Refused
from ingrain.v1 import aliases_pb2 as pb
from ingrain.v1 import aliases_pb2_grpc


class Aliases(aliases_pb2_grpc.AliasesServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def PromoteAlias(self, request: Any, context: Any) -> pb.Alias:
        parent = request.name.rpartition("/aliases/")[0]
        with self.store.changed:
            before = self.store.resources.get(request.name, pb.Alias())
            self._require_etag(before, request.etag)
            target, evaluation = self._resolved(request, parent)
            self.library.known(target, parent)
            gate = request.gate if request.HasField("gate") else before.gate
            self._require_passed(gate, evaluation)
            alias = pb.Alias(name=request.name, target=target, evaluation=evaluation, gate=gate)
            if before.name:
                alias.versions.add(target=before.target, evaluation=before.evaluation)
                alias.versions.extend(before.versions[:49])
            return self._put(alias)

    def RollBackAlias(self, request: Any, context: Any) -> pb.Alias:
        with self.store.changed:
            before = self.store.get(request.name)
            self._require_etag(before, request.etag)
            if not before.versions:
                raise Refused(
                    "FAILED_PRECONDITION", "NOTHING_BEFORE", f"{request.name} has no version before"
                )
            earlier = before.versions[0]
            self._require_passed(before.gate, earlier.evaluation)
            alias = pb.Alias(
                name=request.name, target=earlier.target, evaluation=earlier.evaluation, gate=before.gate
            )
            alias.versions.extend(before.versions[1:])
            return self._put(alias)

    def GetAlias(self, request: Any, context: Any) -> pb.Alias:
        return self.store.get(request.name)

    def ListAliases(self, request: Any, context: Any) -> pb.ListAliasesResponse:
        found, token = self.store.page(request.parent, "aliases", request)
        return pb.ListAliasesResponse(aliases=found, next_page_token=token)

    def DeleteAlias(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()

    def _resolved(self, request: Any, parent: str) -> tuple[str, str]:
        """The target as it is now, and its evaluation."""
        kind, _, study = request.target.partition(":")
        if kind != "auto":
            return request.target, request.evaluation
        decided = self.store.active(f"{parent}/studies/{study}")
        best = decided.recommendation.method
        evaluation = next((o.evaluation for o in decided.outcomes if o.method == best), "")
        return decided.recommendation.model, request.evaluation or evaluation

    def _require_etag(self, alias: pb.Alias, etag: str) -> None:
        if etag and alias.etag != etag:
            raise Refused("ABORTED", "ALIAS_CHANGED", "the alias was changed meanwhile")

    def _require_passed(self, gate: pb.Gate, evaluation: str) -> None:
        kinds = self.store.active(evaluation).kinds if gate.least and evaluation else []
        measured = {result.kind: result.value for result in kinds}
        for kind, least in gate.least.items():
            if not measured.get(kind, -1.0) >= least:
                message = (
                    f"{kind} has {measured.get(kind, 'no value')} and the gate asks for at least {least:g}"
                )
                raise Refused("FAILED_PRECONDITION", "BELOW_GATE", message)

    def _put(self, alias: pb.Alias) -> pb.Alias:
        alias.etag = uuid.uuid4().hex[:16]
        alias.update_time.GetCurrentTime()
        self.store.resources[alias.name] = alias
        return alias
