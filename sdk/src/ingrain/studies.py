"""`client.studies`: which way is worth its price."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ingrain import errors
from ingrain.names import full_name
from ingrain.operation import AsyncOperation
from ingrain.resource import Resource, message_from, pages, resumed
from ingrain.study_result import StudyResult
from ingrain.v1 import augmenter_pb2, common_pb2, trainer_pb2
from ingrain.v1 import studies_pb2 as pb

_TRIAL_S = 3600.0


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
        contenders: Sequence[str | Mapping[str, Any]] = (),
        display_name: str = "",
        request_id: str = "",
        validate_only: bool = False,
        trial: bool = False,
        **spec: Any,
    ) -> AsyncOperation:
        """Compares the methods. `training` and `augmentation` hold fields of TrainingSpec and AugmentationSpec.
        `contenders`: other models, by name or as `{"model": ..., "methods": [...]}`. Other keywords are those of
        StudySpec: group_key, distinct_key, seed, training_seeds, matching, question_count, requirements, tolerance,
        retention, subset, retrieval, judge, asking, previous_study; messages may be given as dicts.
        """
        wanted = study_spec(
            self._client.parent, dataset, probes, model, methods, training, augmentation, contenders, spec
        )
        request = pb.CreateStudyRequest(
            parent=self._client.parent,
            study_id=id or "",
            study=pb.Study(display_name=display_name, spec=wanted),
            request_id=request_id,
            validate_only=validate_only,
            trial=trial,
        )
        timeout_s = _TRIAL_S if trial else None
        call = self._client.stubs.studies.CreateStudy(request, timeout=timeout_s)
        return AsyncOperation(self._client, await call)

    async def estimate(
        self, dataset: str, probes: str, model: str, *, trial: bool = False, **spec: Any
    ) -> common_pb2.Estimate:
        """What `create` with the same arguments would take. `trial`: small steps are really done, so that there is
        processor time and money in it; that takes a minute or more the first time."""
        operation = await self.create(dataset, probes, model, validate_only=True, trial=trial, **spec)
        estimate: common_pb2.Estimate = await operation.result()
        return estimate

    async def result(self, name: str) -> StudyResult:
        """What came out of a study that has ended."""
        return StudyResult(await self.report(name))

    async def pause(self, name: str) -> pb.Study:
        """No further step begins; those at work go on to their end."""
        return await self._client.stubs.studies.PauseStudy(pb.PauseStudyRequest(name=self._name(name)))

    async def resume(self, name: str) -> pb.Study:
        return await self._client.stubs.studies.ResumeStudy(pb.ResumeStudyRequest(name=self._name(name)))

    async def price_table(self) -> pb.PriceTable:
        """The operator's prices; empty where there are none."""
        return await self._client.stubs.studies.GetPriceTable(pb.GetPriceTableRequest())

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


def study_spec(
    parent: str,
    dataset: str,
    probes: str,
    model: str,
    methods: Sequence[str],
    training: Mapping[str, Any] | None,
    augmentation: Mapping[str, Any] | None,
    contenders: Sequence[str | Mapping[str, Any]],
    more: Mapping[str, Any],
) -> pb.StudySpec:
    """The message, with full names for ids. Raises Invalid naming a field that is wrong."""
    more = dict(more)
    if isinstance(more.get("retention"), Mapping):
        datasets = ("text", "probes", "context", "context_probes")
        kept = more["retention"]
        more["retention"] = {
            key: full_name(parent, "datasets", value) if key in datasets and value else value
            for key, value in kept.items()
        }
    if more.get("previous_study"):
        more["previous_study"] = full_name(parent, "studies", more["previous_study"])
    if isinstance(more.get("judge"), str):
        more["judge"] = {"model": full_name(parent, "models", more["judge"])}
    return message_from(
        pb.StudySpec,
        dataset=full_name(parent, "datasets", dataset),
        probes=full_name(parent, "datasets", probes),
        model=full_name(parent, "models", model),
        methods=_listed("methods", methods),
        training=message_from(trainer_pb2.TrainingSpec, **training) if training else None,
        augmentation=message_from(augmenter_pb2.AugmentationSpec, **augmentation) if augmentation else None,
        contenders=[_contender(parent, one) for one in _listed("contenders", contenders)],
        **more,
    )


def _listed(name: str, values: Sequence[Any]) -> list[Any]:
    """A text is a sequence too, of letters, and never what was meant."""
    if isinstance(values, str | Mapping):
        raise errors.Invalid(f"`{name}` is a list; write {name}=[{values!r}]")
    return list(values)


def _contender(parent: str, one: str | Mapping[str, Any]) -> dict[str, Any]:
    wanted = {"model": one} if isinstance(one, str) else dict(one)
    if not wanted.get("model"):
        raise errors.Invalid("a contender is a model's name or {'model': ..., 'methods': [...]}")
    return {**wanted, "model": full_name(parent, "models", wanted["model"])}
