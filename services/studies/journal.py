"""How a study's steps stand: in the task's notes, in the Study, and as events, all in one transaction under the fence.

Notes outlive the process: an attempt that begins after a crash knows which steps this study began itself, and
tells nobody twice what was told.
"""

import json
from collections.abc import Sequence

import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict, ParseDict

from ingrain.v1 import common_pb2, studies_pb2
from servicekit.resources import Resources
from servicekit.worker import Task
from services.studies.records import Records

StudyStep, StudyEvent = studies_pb2.StudyStep, studies_pb2.StudyEvent
_ENDED = (StudyStep.DONE, StudyStep.REUSED)


class Journal:
    """Of one study. `own`: the resource that this study began to make, by step."""

    def __init__(
        self, task: Task, records: Records, studies: Resources[studies_pb2.Study], step_ids: Sequence[str]
    ) -> None:
        self._task = task
        self._records = records
        self._studies = studies
        known = {step["id"]: ParseDict(step, StudyStep()) for step in task.notes.get("steps", [])}
        self._steps = {id: known.get(id, StudyStep(id=id)) for id in step_ids}
        self._told: list[str] = list(task.notes.get("told", []))
        self.own: dict[str, str] = dict(task.notes.get("own", {}))
        self._progress: dict[str, tuple[str, int, int, str]] = {}

    @property
    def steps(self) -> list[studies_pb2.StudyStep]:
        return list(self._steps.values())

    def at_work(self) -> dict[str, str]:
        """What this study began and has not seen end: the resource, and its operation or an empty string."""
        open_steps = [
            s for s in self._steps.values() if s.status in (StudyStep.STATUS_UNSPECIFIED, StudyStep.RUNNING)
        ]
        return {self.own[step.id]: step.operation for step in open_steps if step.id in self.own}

    def knows_operation(self, id: str) -> bool:
        return bool(self._steps[id].operation)

    async def begin(self, id: str, resource: str) -> None:
        """Before the resource is asked for, so that after a crash it is known as this study's own."""
        self.own[id] = resource
        await self._task.note(own=self.own)

    async def running(self, id: str, resource: str, operation: str, fingerprint: str) -> None:
        step = self._steps[id]
        if step.status == StudyStep.RUNNING and step.operation == operation:
            return
        await self._task.child(operation)
        await self._change(id, StudyStep.RUNNING, resource, operation, fingerprint)

    async def ended(self, id: str, resource: str, fingerprint: str, cost: common_pb2.Cost) -> None:
        """Made by this study, or found."""
        step = self._steps[id]
        if step.status in _ENDED:
            return
        status = StudyStep.DONE if self.own.get(id) == resource else StudyStep.REUSED
        step.cost.CopyFrom(cost)
        await self._change(
            id, status, resource, step.operation if status == StudyStep.DONE else "", fingerprint
        )

    async def failed(self, id: str, message: str) -> None:
        step = self._steps[id]
        await self._change(id, StudyStep.ERROR, step.resource, step.operation, step.fingerprint, message)

    async def cancelled(self) -> None:
        """Marks what is at work."""
        for step in self.steps:
            if step.status == StudyStep.RUNNING:
                await self.failed(step.id, "cancelled")

    async def progress(self, id: str, metadata: common_pb2.OperationMetadata) -> None:
        """Where it changed; the client looks about once a second."""
        standing = (metadata.stage, metadata.completed_count, metadata.total_count, metadata.message)
        if metadata.stage and self._progress.get(id) != standing:
            self._progress[id] = standing
            await self._tell(StudyEvent(step=self._steps[id], progress=metadata, message=metadata.message))

    async def say(self, what: str, message: str) -> None:
        """A line for people, once in a study for each `what`."""
        if what not in self._told:
            self._told.append(what)
            await self._tell(StudyEvent(message=message), told=self._told)

    async def say_again(self, message: str) -> None:
        """A line for people, each time."""
        await self._tell(StudyEvent(message=message))

    async def _change(
        self,
        id: str,
        status: "studies_pb2.StudyStep.Status",
        resource: str,
        operation: str,
        fingerprint: str,
        message: str = "",
    ) -> None:
        step = self._steps[id]
        step.status, step.resource, step.operation, step.fingerprint = (
            status,
            resource,
            operation,
            fingerprint,
        )
        begun = [s for s in self._steps.values() if s.status]
        noted = [MessageToDict(s, preserving_proto_field_name=True) for s in begun]
        await self._tell(StudyEvent(step=step, message=message), steps=noted)
        done = sum(s.status in _ENDED for s in begun)
        await self._task.progress(id, done, len(self._steps), "steps", message)

    async def _tell(self, event: studies_pb2.StudyEvent, **notes: object) -> None:
        self._task.notes.update(notes)
        noted = json.dumps(self._task.notes)

        def write(connection: sa.Connection) -> None:
            self._task.write_in(connection, notes=noted)
            self._records.add_event_in(connection, self._task.target, event)
            study = self._studies.get_in(connection, self._task.target)
            del study.steps[:]
            study.steps.extend(self._steps.values())
            self._studies.replace_in(connection, study)

        await self._studies.database.run(write)
