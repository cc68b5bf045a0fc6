"""aliases/: names that stay while what answers behind them changes, in one transaction, and back.

A target is looked at first (does it stand, does it pass the gate) and then takes its place if the alias is still as it
was looked at; who comes second looks again, or is refused where it named the etag that it knew.
"""

import secrets
from collections.abc import Awaitable
from typing import TypeVar

import sqlalchemy as sa

from ingrain import errors as sdk_errors
from ingrain.v1 import aliases_pb2 as pb
from ingrain.v1 import datasets_pb2, evaluator_pb2, studies_pb2
from servicekit import identity
from servicekit.errors import AlreadyExists, Busy, Invalid, NotFound, WrongState
from servicekit.failpoints import failpoint
from servicekit.peers import gateway_client
from servicekit.resources import Resources
from servicekit.tables import resource
from services.inference import gates
from services.inference.names import Meaning, Names, meaning_of, short, subject_of
from services.inference.settings import InferenceSettings

T = TypeVar("T")
MOST_VERSIONS = 50
MOST_TRIES = 5


class Aliases:
    def __init__(self, settings: InferenceSettings, rows: Resources[pb.Alias], names: Names) -> None:
        self._settings = settings
        self.rows = rows
        self._names = names

    async def promote(self, request: pb.PromoteAliasRequest) -> pb.Alias:
        """The alias as it stands for the target. Promoting what it stands for already changes nothing."""
        project = identity.authorize(request.name)
        for _ in range(MOST_TRIES):
            before = await self._current(request.name)
            require_etag(request.name, before, request.etag)
            wanted = await self._wanted(project, request, before)
            if unchanged(before, wanted):
                return before
            if before.name:
                wanted.versions.extend([version_of(before), *before.versions][:MOST_VERSIONS])
            if await self._switch(before, wanted):
                return wanted
        raise changed(request.name)

    async def roll_back(self, request: pb.RollBackAliasRequest) -> pb.Alias:
        """The alias as it stands for what it stood for before; what it stands for now is forgotten."""
        project = identity.authorize(request.name)
        for _ in range(MOST_TRIES):
            before = await self.rows.get(request.name)
            require_etag(request.name, before, request.etag)
            if not before.versions:
                raise WrongState(
                    "NOTHING_BEFORE", f"{request.name} has stood for nothing else before", alias=request.name
                )
            earlier = before.versions[0]
            wanted = pb.Alias(name=before.name, target=earlier.target, subject=earlier.subject)
            wanted.versions.extend(before.versions[1:])
            await self._names.require(request.name, meaning_of(earlier.subject))
            if before.HasField("gate"):
                wanted.gate.CopyFrom(before.gate)
                await self._require_passed(project, wanted, earlier.evaluation)
            wanted.evaluation = earlier.evaluation
            if await self._switch(before, wanted):
                return wanted
        raise changed(request.name)

    async def delete(self, name: str) -> None:
        """For good, so that the name can be used again: etags tell the new one from the old."""

        def delete(connection: sa.Connection) -> None:
            self.rows.get_in(connection, name, lock=True)
            connection.execute(resource.delete().where(resource.c.name == name))

        await self.rows.database.run(delete)

    async def _current(self, name: str) -> pb.Alias:
        """An empty one where there is none."""
        try:
            return await self.rows.get(name)
        except NotFound:
            return pb.Alias()

    async def _wanted(self, project: str, request: pb.PromoteAliasRequest, before: pb.Alias) -> pb.Alias:
        """What the alias shall become, without its versions; refused where the target may not stand there."""
        meaning = await self._names.target(project, request.target)
        for name in (meaning.model, meaning.dataset):
            if name and not name.startswith(f"{project}/"):
                raise Invalid(
                    "OTHER_PROJECT", f"{name} is not in {project}, where the alias is", field="target"
                )
        await self._names.require(request.name, meaning)
        wanted = pb.Alias(name=request.name, target=written(meaning), subject=subject_of(meaning))
        gate = await self._gate(project, request, before)
        evaluation = request.evaluation or await self._of_study(project, request.target)
        if gate is not None:
            wanted.gate.CopyFrom(gate)
            await self._require_passed(project, wanted, evaluation)
            wanted.evaluation = evaluation
        elif request.evaluation:
            gates.require_subject(await self._evaluation(project, evaluation), wanted.subject)
            wanted.evaluation = evaluation
        return wanted

    async def _gate(self, project: str, request: pb.PromoteAliasRequest, before: pb.Alias) -> pb.Gate | None:
        if not request.HasField("gate"):
            return before.gate if before.HasField("gate") else None
        gates.check_gate(request.gate)
        if not request.gate.probes.startswith(f"{project}/"):
            raise Invalid("OTHER_PROJECT", f"{request.gate.probes} is not in {project}", field="gate.probes")
        probes = await self._names.dataset(request.gate.probes)
        if probes.kind != datasets_pb2.Dataset.PROBES:
            raise Invalid("NOT_PROBES", f"{request.gate.probes} holds no probes", field="gate.probes")
        return pb.Gate(probes=probes.name, least=dict(request.gate.least), probes_sha256=probes.sha256)

    async def _require_passed(self, project: str, wanted: pb.Alias, name: str) -> None:
        if not name:
            raise WrongState(
                "NO_EVALUATION",
                f"{wanted.name} has a gate, and no evaluation of {wanted.target} was named; evaluate it on "
                f"{wanted.gate.probes} and promote it with the evaluation",
                alias=wanted.name,
                target=wanted.target,
            )
        evaluation = await self._evaluation(project, name)
        gates.require_subject(evaluation, wanted.subject)
        gates.require_passed(wanted.gate, evaluation, wanted.target)

    async def _evaluation(self, project: str, name: str) -> evaluator_pb2.Evaluation:
        if not name.startswith(f"{project}/"):
            raise Invalid("OTHER_PROJECT", f"{name} is not in {project}", field="evaluation")
        stubs = gateway_client(self._settings, project).stubs
        return await found(
            stubs.evaluator.GetEvaluation(evaluator_pb2.GetEvaluationRequest(name=name)),
            "EVALUATION_GONE",
            f"{name} does not exist; evaluate the target again",
        )

    async def _of_study(self, project: str, target: str) -> str:
        """The evaluation that the study has of its winner; empty for other targets."""
        kind, _, study = target.partition(":")
        if kind != "auto":
            return ""
        name = study if study.startswith("projects/") else f"{project}/studies/{study}"
        stubs = gateway_client(self._settings, project).stubs
        decided = await stubs.studies.GetStudy(studies_pb2.GetStudyRequest(name=name))
        best = [o.evaluation for o in decided.outcomes if o.method == decided.recommendation.method]
        return best[0] if best else ""

    async def _switch(self, before: pb.Alias, wanted: pb.Alias) -> bool:
        """Whether the alias was still as looked at, and is now what is wanted."""
        wanted.etag = secrets.token_hex(8)
        wanted.update_time.GetCurrentTime()

        def switch(connection: sa.Connection) -> bool:
            try:
                now = self.rows.get_in(connection, wanted.name, lock=True)
            except NotFound:
                now = pb.Alias()
            if now.etag != before.etag:
                return False
            write = self.rows.replace_in if now.name else self.rows.insert_in
            try:
                write(connection, wanted)
            except AlreadyExists:  # made by another process since the look above
                return False
            failpoint("alias.before_commit")
            return True

        return await self.rows.database.run(switch)


def require_etag(name: str, alias: pb.Alias, etag: str) -> None:
    if etag and alias.etag != etag:
        raise changed(name)


def changed(name: str) -> Busy:
    return Busy(
        "ALIAS_CHANGED", f"{name} was changed meanwhile; get it and decide again with its etag", alias=name
    )


def unchanged(before: pb.Alias, wanted: pb.Alias) -> bool:
    parts = ("subject", "evaluation", "gate")
    return bool(before.name) and all(getattr(before, part) == getattr(wanted, part) for part in parts)


def version_of(alias: pb.Alias) -> pb.AliasVersion:
    return pb.AliasVersion(
        target=alias.target,
        evaluation=alias.evaluation,
        update_time=alias.update_time,
        subject=alias.subject,
    )


def written(meaning: Meaning) -> str:
    """For people; within the alias's project, so that ids are enough."""
    if not meaning.dataset:
        return meaning.model
    kind = "rag" if meaning.retrieval else "icl"
    return f"{kind}:{short(meaning.dataset)}@{short(meaning.model)}"


async def found(call: Awaitable[T], reason: str, message: str) -> T:
    try:
        return await call
    except sdk_errors.NotFound:
        raise WrongState(reason, message) from None
