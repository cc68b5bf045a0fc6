"""`client.evaluations`: what a model knows, by probes."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingrain import errors, harness
from ingrain.names import full_name
from ingrain.operation import AsyncOperation
from ingrain.resource import Resource, message_from, pages, resumed
from ingrain.v1 import common_pb2, datasets_pb2
from ingrain.v1 import evaluator_pb2 as pb

if TYPE_CHECKING:
    from ingrain.client import AsyncClient


class AsyncEvaluations(Resource):
    collection = "evaluations"

    async def create(
        self,
        model: str,
        probes: str,
        id: str | None = None,
        *,
        dataset: str = "",
        group_key: str = "",
        distinct_key: str = "",
        cluster_key: str = "",
        question_template: str = "",
        judge: str = "",
        rubric: str = "",
        asking: str = "",
        subset: float | None = None,
        subset_seed: int = 0,
        retrieval: Mapping[str, Any] | None = None,
        request_id: str = "",
        validate_only: bool = False,
    ) -> AsyncOperation:
        """Asks `model` every probe, with the documents of `dataset` in its context where given.

        `probes` may be a dataset of documents, which are then scored by themselves (`bits_per_byte`). `judge` is a
        model that says of every written answer whether it is right, as `rubric` asks it. `asking`: `choice` or
        `generation`. `subset`: only this share of the documents is read; `retrieval`: each question is asked with
        what is found for it, keywords as of Retrieval, e.g. `{"unit": "passage", "top_k": 3}`.
        """
        parent = self._client.parent
        subject = pb.Subject(model=full_name(parent, "models", model))
        if dataset:
            subject.context.dataset = full_name(parent, "datasets", dataset)
            subject.context.group_key = group_key
            subject.context.distinct_key = distinct_key
            if subset is not None:
                subject.context.subset.CopyFrom(common_pb2.Subset(share=subset, seed=subset_seed))
            if retrieval is not None:
                subject.context.retrieval.CopyFrom(message_from(common_pb2.Retrieval, **retrieval))
        judged = pb.Judge(model=full_name(parent, "models", judge), rubric=rubric) if judge else None
        request = pb.CreateEvaluationRequest(
            parent=parent,
            evaluation_id=id or "",
            evaluation=message_from(
                pb.Evaluation,
                subject=subject,
                probes=full_name(parent, "datasets", probes),
                cluster_key=cluster_key,
                question_template=question_template,
                judge=judged,
                asking=asking or None,
            ),
            request_id=request_id,
            validate_only=validate_only,
        )
        return AsyncOperation(self._client, await self._client.stubs.evaluator.CreateEvaluation(request))

    async def generate_probes(
        self,
        dataset: str,
        model: str,
        id: str | None = None,
        *,
        checker: str = "",
        validate_only: bool = False,
        **spec: Any,
    ) -> AsyncOperation:
        """A dataset of probes that `model` writes about the documents of `dataset`; keywords are those of ProbeSpec.

        The result's labels say how many were kept and dropped, and why; each row's metadata where it came from.
        """
        parent = self._client.parent
        request = pb.GenerateProbesRequest(
            parent=parent,
            dataset_id=id or "",
            spec=message_from(
                pb.ProbeSpec,
                dataset=full_name(parent, "datasets", dataset),
                model=full_name(parent, "models", model),
                checker=full_name(parent, "models", checker) if checker else None,
                **spec,
            ),
            request_id=str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return AsyncOperation(self._client, await self._client.stubs.evaluator.GenerateProbes(request))

    async def get(self, name: str) -> pb.Evaluation:
        request = pb.GetEvaluationRequest(name=self._name(name))
        return await self._client.stubs.evaluator.GetEvaluation(request)

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Evaluation]:
        """Newest first."""
        request = pb.ListEvaluationsRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.evaluator.ListEvaluations, request, "evaluations")

    async def delete(self, name: str) -> None:
        request = pb.DeleteEvaluationRequest(name=self._name(name))
        await self._client.stubs.evaluator.DeleteEvaluation(request)

    async def results(self, name: str, start: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The answers probe by probe."""

        def read(position: int) -> AsyncIterator[pb.ReadResultsResponse]:
            request = pb.ReadResultsRequest(name=self._name(name), start_row=position)
            return self._client.stubs.evaluator.ReadResults(request)

        async for message in resumed(read, start, lambda m: m.start_row + len(m.rows)):
            for row in message.rows:
                yield json.loads(row)

    async def compare(
        self, baseline: str, candidates: str | Sequence[str], seed: int = 0, probe_ids: Sequence[str] = ()
    ) -> Sequence[pb.Difference]:
        """Candidate minus baseline per kind of probe, paired."""
        names = [candidates] if isinstance(candidates, str) else candidates
        request = pb.CompareEvaluationsRequest(
            parent=self._client.parent,
            baseline=self._name(baseline),
            candidates=[self._name(name) for name in names],
            seed=seed,
            probe_ids=probe_ids,
        )
        return (await self._client.stubs.evaluator.CompareEvaluations(request)).differences

    async def export_lm_eval(self, name: str, folder: str | Path) -> Path:
        """Writes what lm-evaluation-harness reads: a results file, whose path is returned, and the probes as tasks.

        The tasks hold the documents that the subject had in its context. Raises Invalid where the probes are no
        longer those that were asked.
        """
        evaluation = await self.get(name)
        answers = [row async for row in self.results(name)]
        probes = await self._client.datasets.get(evaluation.probes)
        if probes.sha256 != evaluation.probes_sha256:
            message = f"{probes.name} is not what {evaluation.name} was asked: its digest changed"
            raise errors.Invalid(message, reason="PROBES_CHANGED")
        if probes.kind == datasets_pb2.Dataset.DOCUMENTS:
            message = f"{evaluation.name} scored texts, which are no task of that tool; its numbers are those of `kinds`"
            raise errors.Invalid(message, reason="TEXTS_ARE_NO_TASK")
        context = evaluation.subject.context
        if context.HasField("subset") or context.HasField("retrieval"):
            message = (
                f"{evaluation.name} read a part of the documents, or what was found; a task holds them whole"
            )
            raise errors.Invalid(message, reason="CONTEXT_NOT_WHOLE")
        rows = [row async for row in self._client.datasets.rows(evaluation.probes)]
        documents = await _documents(self._client, evaluation.subject)
        return harness.write(Path(folder).expanduser(), evaluation, rows, documents, answers)


async def _documents(client: "AsyncClient", subject: pb.Subject) -> dict[str, str]:
    """What the subject has in its context, as inference renders it, by the value of the group key."""
    context, seen = subject.context, set()
    texts: dict[str, list[str]] = {}
    if not subject.HasField("context"):
        return {}
    async for row in client.datasets.rows(context.dataset):
        metadata = row.get("metadata") or {}
        group = str(metadata.get(context.group_key)) if context.group_key else ""
        if context.distinct_key and context.distinct_key in metadata:
            mark = (group, str(metadata[context.distinct_key]))
            if mark in seen:
                continue
            seen.add(mark)
        texts.setdefault(group, []).append(row["text"])
    return {group: "\n".join(parts) for group, parts in texts.items()}
