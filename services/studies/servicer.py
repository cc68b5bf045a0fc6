"""The Studies service: proto -> domain call -> proto."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from ingrain.v1 import common_pb2, studies_pb2, studies_pb2_grpc
from servicekit.errors import Exhausted, NotFound, WrongState
from servicekit.identity import authorize
from servicekit.operations import Operations
from servicekit.peers import gateway_client
from servicekit.prices import load_prices
from servicekit.resources import Resources, new_id
from servicekit.storage import Storage
from services.studies.plan import plan
from services.studies.preflight import inspect, settled
from services.studies.records import Records, StoredReport
from services.studies.rehearsal import rehearse, sum_of, with_trial
from services.studies.settings import StudiesSettings
from services.studies.spec import normalised
from services.studies.trial import Trials

Format = studies_pb2.GetReportRequest
FORMS = {
    Format.FORMAT_UNSPECIFIED: ("json", "application/json"),
    Format.JSON: ("json", "application/json"),
    Format.MARKDOWN: ("md", "text/markdown; charset=utf-8"),
    Format.HTML: ("html", "text/html; charset=utf-8"),
}

LEAST_TOO_LARGE = 3 << 20  # bytes of a report's form; clients take messages of 4 MiB


class StudiesServicer(studies_pb2_grpc.StudiesServicer):
    def __init__(
        self,
        settings: StudiesSettings,
        studies: Resources[studies_pb2.Study],
        operations: Operations,
        records: Records,
        storage: Storage,
    ) -> None:
        self._settings = settings
        self._studies = studies
        self._operations = operations
        self._records = records
        self._storage = storage
        self._prices = load_prices(settings.prices)

    async def CreateStudy(
        self, request: studies_pb2.CreateStudyRequest, context: Any
    ) -> operations_pb2.Operation:
        parent = authorize(request.parent)
        for name in names_in(request.study.spec):
            authorize(name)
        spec = normalised(request.study.spec)
        study = studies_pb2.Study(
            name=f"{parent}/studies/{request.study_id or new_id('study')}",
            display_name=request.study.display_name,
            spec=spec,
        )
        if request.validate_only:
            client = gateway_client(self._settings, parent)
            inputs = await inspect(client, spec, self._prices)
            spec = settled(spec, inputs)
            estimates = await rehearse(client, plan(spec), inputs)
            estimate = sum_of(estimates, inputs)
            if request.trial:
                trial = await Trials(client, spec, inputs).run()
                estimate = with_trial(estimates, inputs, trial, self._prices)
            return self._operations.done_with_estimate(study.name, "CreateStudy", estimate)
        return await self._operations.start("CreateStudy", request, study, request_id=request.request_id)

    async def GetStudy(self, request: studies_pb2.GetStudyRequest, context: Any) -> studies_pb2.Study:
        authorize(request.name)
        return await self._studies.get(request.name)

    async def ListStudies(
        self, request: studies_pb2.ListStudiesRequest, context: Any
    ) -> studies_pb2.ListStudiesResponse:
        parent = authorize(request.parent)
        studies, token = await self._studies.list(parent, request.page_size, request.page_token)
        return studies_pb2.ListStudiesResponse(studies=studies, next_page_token=token)

    async def PauseStudy(self, request: studies_pb2.PauseStudyRequest, context: Any) -> studies_pb2.Study:
        return await self._set_paused(request.name, True)

    async def ResumeStudy(self, request: studies_pb2.ResumeStudyRequest, context: Any) -> studies_pb2.Study:
        study = await self._set_paused(request.name, False)
        await self._operations.wake(study.name)
        return study

    async def _set_paused(self, name: str, paused: bool) -> studies_pb2.Study:
        authorize(name)

        def change(study: studies_pb2.Study) -> None:
            if study.state != common_pb2.CREATING:
                state = common_pb2.State.Name(study.state)
                raise WrongState(
                    "STUDY_NOT_RUNNING",
                    f"{name} is {state}; only a study at work can be paused or resumed.",
                    state=state,
                )
            study.paused = paused

        return await self._studies.update(name, change)

    async def GetPriceTable(
        self, request: studies_pb2.GetPriceTableRequest, context: Any
    ) -> studies_pb2.PriceTable:
        return self._prices

    async def DeleteStudy(self, request: studies_pb2.DeleteStudyRequest, context: Any) -> empty_pb2.Empty:
        authorize(request.name)
        if (await self._studies.get(request.name)).state == common_pb2.CREATING:
            raise WrongState("STUDY_RUNNING", f"{request.name} is at work; cancel its operation first.")
        await self._studies.delete(request.name)
        return empty_pb2.Empty()

    async def WatchStudy(
        self, request: studies_pb2.WatchStudyRequest, context: Any
    ) -> AsyncIterator[studies_pb2.StudyEvent]:
        authorize(request.name)
        position = max(1, request.start_sequence)
        told = time.monotonic()
        while True:
            # The state first: once a study has ended, all its events are there.
            ended = (await self._studies.get(request.name)).state != common_pb2.CREATING
            events = await self._records.events(request.name, position)
            for event in events:
                yield event
                position = event.sequence + 1
            if ended and not events:
                return
            if events:
                told = time.monotonic()
            elif time.monotonic() - told > self._settings.heartbeat_s:
                yield studies_pb2.StudyEvent()
                told = time.monotonic()
            if not events:
                await asyncio.sleep(self._settings.watch_poll_s)

    async def GetReport(
        self, request: studies_pb2.GetReportRequest, context: Any
    ) -> studies_pb2.GetReportResponse:
        authorize(request.name)
        study = await self._studies.get(request.name)
        if study.state != common_pb2.ACTIVE:
            state = common_pb2.State.Name(study.state)
            raise WrongState(
                "REPORT_NOT_READY",
                f"{study.name} is {state}; a study has a report when it is ACTIVE.",
                state=state,
            )
        form, media_type = FORMS[request.format]
        stored = await self._records.report(study.name, form)
        if stored is None:
            raise NotFound("REPORT_NOT_FOUND", f"{study.name} has no report.")
        if (size := await self._size(stored)) >= LEAST_TOO_LARGE:
            raise await self._too_large(study.name, form, size)
        content = await self._storage.get(stored.storage_key)
        return studies_pb2.GetReportResponse(content=content, media_type=media_type, sha256=stored.sha256)

    async def _size(self, stored: StoredReport) -> int:
        found = await self._storage.stat(stored.storage_key)
        return found.size_bytes if found else 0  # what is gone is told by reading it

    async def _too_large(self, study: str, form: str, size: int) -> Exhausted:
        """Refuses a form, and names those that can be had."""
        smaller = []
        for format, (other, _) in FORMS.items():
            stored = await self._records.report(study, other) if format != Format.FORMAT_UNSPECIFIED else None
            if stored and await self._size(stored) < LEAST_TOO_LARGE:
                smaller.append(Format.Format.Name(format))
        instead = (
            f"ask for {' or '.join(smaller)}"
            if smaller
            else "compare fewer methods, kinds or worlds in one study"
        )
        return Exhausted(
            "REPORT_TOO_LARGE",
            f"report.{form} of {study} has {size} bytes; a message holds less than {LEAST_TOO_LARGE} of them: {instead}.",
            size_bytes=size,
            limit_bytes=LEAST_TOO_LARGE,
        )


def names_in(message: Message) -> Iterator[str]:
    """All full names of resources, at any depth."""
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if isinstance(one, Message):
                yield from names_in(one)
            elif isinstance(one, str) and one.startswith("projects/"):
                yield one
