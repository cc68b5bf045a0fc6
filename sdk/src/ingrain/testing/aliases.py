"""The fake's Aliases: names that stay, gates, roll back."""

import uuid
from typing import Any

from google.protobuf import empty_pb2

from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Store
from ingrain.v1 import aliases_pb2 as pb
from ingrain.v1 import aliases_pb2_grpc, common_pb2, datasets_pb2, evaluator_pb2

_MOST_VERSIONS = 50


class Aliases(aliases_pb2_grpc.AliasesServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def PromoteAlias(self, request: Any, context: Any) -> pb.Alias:
        parent = request.name.rpartition("/aliases/")[0]
        with self.store.changed:
            before = self.store.resources.get(request.name, pb.Alias())
            _require_etag(request.name, before, request.etag)
            subject = self.library.target(request.target, parent)
            for name in (subject.model, subject.context.dataset):
                if name and not name.startswith(f"{parent}/"):
                    message = f"{name} is not in {parent}, where the alias is"
                    raise Refused("INVALID_ARGUMENT", "OTHER_PROJECT", message, "target")
            self.library.require(request.name, subject)
            alias = pb.Alias(name=request.name, target=_written(subject), subject=subject)
            self._evaluated(alias, request, before)
            if before.name and all(getattr(before, p) == getattr(alias, p) for p in _PARTS):
                return before
            if before.name:
                alias.versions.append(_version(before))
                alias.versions.extend(before.versions[: _MOST_VERSIONS - 1])
            return self._put(alias)

    def RollBackAlias(self, request: Any, context: Any) -> pb.Alias:
        with self.store.changed:
            before = self.store.get(request.name)
            _require_etag(request.name, before, request.etag)
            if not before.versions:
                message = f"{request.name} has stood for nothing else before"
                raise Refused("FAILED_PRECONDITION", "NOTHING_BEFORE", message, alias=request.name)
            earlier = before.versions[0]
            self.library.require(request.name, earlier.subject)
            alias = pb.Alias(name=request.name, target=earlier.target, subject=earlier.subject)
            if before.HasField("gate"):
                alias.gate.CopyFrom(before.gate)
                _require_passed(self.store, alias, earlier.evaluation)
            alias.evaluation = earlier.evaluation
            alias.versions.extend(before.versions[1:])
            return self._put(alias)

    def GetAlias(self, request: Any, context: Any) -> pb.Alias:
        return self.store.get(request.name)

    def ListAliases(self, request: Any, context: Any) -> pb.ListAliasesResponse:
        found, token = self.store.page(request.parent, "aliases", request)
        return pb.ListAliasesResponse(aliases=found, next_page_token=token)

    def DeleteAlias(self, request: Any, context: Any) -> empty_pb2.Empty:
        """For good: the name can be used again."""
        self.store.delete(request.name, keep_name=False)
        return empty_pb2.Empty()

    def _evaluated(self, alias: pb.Alias, request: Any, before: pb.Alias) -> None:
        """Sets gate and evaluation; refused where the gate is not passed."""
        evaluation = request.evaluation or self._of_study(request)
        if request.HasField("gate"):
            probes = self.store.active(request.gate.probes)
            if probes.kind != datasets_pb2.Dataset.PROBES:
                message = f"{probes.name} holds no probes"
                raise Refused("INVALID_ARGUMENT", "NOT_PROBES", message, "gate.probes")
            alias.gate.CopyFrom(request.gate)
            alias.gate.probes_sha256 = probes.sha256
        elif before.HasField("gate"):
            alias.gate.CopyFrom(before.gate)
        if alias.HasField("gate"):
            _require_passed(self.store, alias, evaluation)
            alias.evaluation = evaluation
        elif request.evaluation:
            _require_subject(self.store, alias, evaluation)
            alias.evaluation = evaluation

    def _of_study(self, request: Any) -> str:
        kind, _, study = request.target.partition(":")
        if kind != "auto":
            return ""
        parent = request.name.rpartition("/aliases/")[0]
        decided = self.store.get(study if study.startswith("projects/") else f"{parent}/studies/{study}")
        best = decided.recommendation.method
        return next((o.evaluation for o in decided.outcomes if o.method == best), "")

    def _put(self, alias: pb.Alias) -> pb.Alias:
        alias.etag = uuid.uuid4().hex[:16]
        alias.update_time.GetCurrentTime()
        self.store.resources[alias.name] = alias
        return alias


_PARTS = ("subject", "evaluation", "gate")  # what makes two promotions the same


def _version(alias: pb.Alias) -> pb.AliasVersion:
    version = pb.AliasVersion(target=alias.target, evaluation=alias.evaluation, subject=alias.subject)
    version.update_time.CopyFrom(alias.update_time)
    return version


def _written(subject: evaluator_pb2.Subject) -> str:
    if not subject.HasField("context"):
        return str(subject.model)
    kind = "rag" if subject.context.HasField("retrieval") else "icl"
    return f"{kind}:{subject.context.dataset.rpartition('/')[2]}@{subject.model.rpartition('/')[2]}"


def _require_etag(name: str, alias: pb.Alias, etag: str) -> None:
    if etag and alias.etag != etag:
        message = f"{name} was changed meanwhile; get it and decide again with its etag"
        raise Refused("ABORTED", "ALIAS_CHANGED", message, alias=name)


def _require_subject(store: Store, alias: pb.Alias, name: str) -> evaluator_pb2.Evaluation:
    """The evaluation, which must have measured what the alias shall stand for."""
    if name not in store.resources:
        message = f"{name} does not exist; evaluate the target again"
        raise _not_now("EVALUATION_GONE", message)
    evaluation: evaluator_pb2.Evaluation = store.get(name)
    if evaluation.state != common_pb2.ACTIVE:
        raise _not_now("EVALUATION_NOT_ACTIVE", f"{name} is not ACTIVE", evaluation=name)
    if evaluation.subject != alias.subject:
        message = f"{name} measured another subject than {alias.target}; evaluate exactly the target"
        raise _not_now("EVALUATION_OF_ANOTHER_SUBJECT", message, evaluation=name)
    return evaluation


def _require_passed(store: Store, alias: pb.Alias, name: str) -> None:
    if not name:
        message = f"{alias.name} has a gate, and no evaluation of {alias.target} was named"
        raise _not_now("NO_EVALUATION", message, alias=alias.name, target=alias.target)
    evaluation = _require_subject(store, alias, name)
    if evaluation.probes_sha256 != alias.gate.probes_sha256:
        message = f"{name} asked {evaluation.probes}, and the gate counts {alias.gate.probes}"
        raise _not_now("EVALUATION_OF_OTHER_PROBES", message, evaluation=name)
    measured = {result.kind: result.value for result in evaluation.kinds}
    for kind, least in sorted(alias.gate.least.items()):
        if kind not in measured:
            raise _not_now("GATE_KIND_NOT_MEASURED", f"{name} has no probes of kind {kind!r}", kind=kind)
        value = measured[kind]
        if not value >= least:
            message = f"{alias.target} has {value:.4g} on {kind!r} and the gate asks for at least {least:.4g}"
            raise _not_now("BELOW_GATE", message, kind=kind, value=value, least=least, evaluation=name)


def _not_now(reason: str, message: str, **metadata: object) -> Refused:
    return Refused("FAILED_PRECONDITION", reason, message, **metadata)  # type: ignore[arg-type]
