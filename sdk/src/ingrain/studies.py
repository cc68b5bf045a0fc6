"""`client.studies`: which way is worth its price."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ingrain import errors
from ingrain.names import full_name
from ingrain.operation import AsyncOperation
from ingrain.resource import Resource, message_from, pages, resumed
from ingrain.v1 import augmenter_pb2, trainer_pb2
from ingrain.v1 import studies_pb2 as pb


class AsyncStudies(Resource):
    collection = "studies"

    async def create(
        self,
        dataset: str,
        probes: str,
        model: str,
        id: str | None = None,
        *,
        methods: Sequence[str] = (),
        training: Mapping[str, Any] | None = None,
        augmentation: Mapping[str, Any] | None = None,
        display_name: str = "",
        validate_only: bool = False,
        **spec: Any,
    ) -> AsyncOperation:
        """Compares the methods. `training` and `augmentation` hold fields of TrainingSpec and AugmentationSpec;
        other keywords are those of StudySpec (group_key, distinct_key, seed, question_count, tolerance)."""
        parent = self._client.parent
        study = pb.Study(
            display_name=display_name,
            spec=message_from(
                pb.StudySpec,
                dataset=full_name(parent, "datasets", dataset),
                probes=full_name(parent, "datasets", probes),
                model=full_name(parent, "models", model),
                methods=list(methods),
                training=message_from(trainer_pb2.TrainingSpec, **training) if training else None,
                augmentation=message_from(augmenter_pb2.AugmentationSpec, **augmentation)
                if augmentation
                else None,
                **spec,
            ),
        )
        request = pb.CreateStudyRequest(
            parent=parent, study_id=id or "", study=study, validate_only=validate_only
        )
        return AsyncOperation(self._client, await self._client.stubs.studies.CreateStudy(request))

    async def get(self, name: str) -> pb.Study:
        return await self._client.stubs.studies.GetStudy(pb.GetStudyRequest(name=self._name(name)))

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Study]:
        """Newest first."""
        request = pb.ListStudiesRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.studies.ListStudies, request, "studies")

    async def delete(self, name: str) -> None:
        await self._client.stubs.studies.DeleteStudy(pb.DeleteStudyRequest(name=self._name(name)))

    def watch(self, name: str, start_sequence: int = 1) -> AsyncIterator[pb.StudyEvent]:
        """What happens until the study ends, through outages of the platform."""

        async def watched(sequence: int) -> AsyncIterator[pb.StudyEvent]:
            request = pb.WatchStudyRequest(name=self._name(name), start_sequence=sequence)
            async for event in self._client.stubs.studies.WatchStudy(request):
                if event.sequence:  # else a heartbeat
                    yield event

        return resumed(watched, start_sequence, lambda event: event.sequence + 1)

    async def report(self, name: str, format: str = "json") -> Any:
        """`json`: the report as a dict; `markdown` or `html`: its text."""
        try:
            number = pb.GetReportRequest.Format.Value(format.upper())
        except ValueError:
            raise errors.Invalid(f"unknown format {format!r}; one of json, markdown, html") from None
        request = pb.GetReportRequest(name=self._name(name), format=number)
        content = (await self._client.stubs.studies.GetReport(request)).content
        return json.loads(content) if number == pb.GetReportRequest.JSON else content.decode()
