"""`client.batches`: very many questions, asked with what interactive requests leave of the engine."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ingrain import errors
from ingrain.names import full_name
from ingrain.operation import AsyncOperation, OnProgress
from ingrain.resource import Resource, pages
from ingrain.v1 import batches_pb2 as pb


class AsyncBatches(Resource):
    collection = "batches"

    async def create(
        self,
        model: str,
        dataset: str,
        id: str | None = None,
        *,
        context: str = "",
        max_tokens: int = 0,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
        validate_only: bool = False,
    ) -> AsyncOperation:
        """Asks `model` (any name that `generate` takes) every row of `dataset`: prompts, or probes, whose choices are
        scored. The operation's result is the dataset of answers. Settings are for rows that have no `parameters`."""
        request = pb.CreateBatchRequest(
            parent=self._client.parent,
            batch_id=id or "",
            batch=pb.Batch(
                model=self._client.model_name(model),
                dataset=full_name(self._client.parent, "datasets", dataset),
                context=context and full_name(self._client.parent, "contexts", context),
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                stop=stop,
                labels=labels or {},
            ),
            request_id=request_id,
            validate_only=validate_only,
        )
        return AsyncOperation(self._client, await self._client.stubs.batches.CreateBatch(request))

    async def get(self, name: str) -> pb.Batch:
        return await self._client.stubs.batches.GetBatch(pb.GetBatchRequest(name=self._name(name)))

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Batch]:
        """Newest first."""
        request = pb.ListBatchesRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.batches.ListBatches, request, "batches")

    async def delete(self, name: str) -> None:
        """Forgets the batch; its datasets stay."""
        await self._client.stubs.batches.DeleteBatch(pb.DeleteBatchRequest(name=self._name(name)))

    async def cancel(self, name: str) -> None:
        """Asks for an end; what is answered by then stays as the batch's output."""
        batch = await self.get(name)
        if batch.operation:
            await self._client.operations.cancel(batch.operation)

    async def wait(
        self, name: str, timeout_s: float | None = None, on_progress: OnProgress | None = None
    ) -> pb.Batch:
        """The batch when it has ended. Raises OperationFailed, or OperationCancelled."""
        batch = await self.get(name)
        await self._client.operations.wait(batch.operation, timeout_s, on_progress)
        return await self.get(name)

    async def results(self, name: str, start: int = 0, limit: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Answers in the order of the questions, from `start`, at most `limit` (0: all): `{"id", "completion", ...}`,
        `{"id", "scores"}` or `{"id", "error"}`."""
        batch = await self.get(name)
        if not batch.output_dataset:
            raise errors.WrongState(f"{batch.name} has no answers yet", reason="BATCH_WITHOUT_OUTPUT")
        async for row in self._client.datasets.rows(batch.output_dataset, start, limit):
            yield row
