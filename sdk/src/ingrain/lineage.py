"""`client.lineage`: what came of documents, and taking them back with all that came of them.

Everything here is put together from methods that any caller has; the services know nothing of each other's resources.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from google.longrunning import operations_pb2

from ingrain import errors
from ingrain.lineage_of import (
    Concerned,
    Lineage,
    Rows,
    Withdrawal,
    aliases_of,
    batches_of,
    copies_of,
    derived_from,
    evaluations_of,
    meant_by,
    models_of,
    studies_of,
)
from ingrain.names import short_id
from ingrain.operation import AsyncOperation
from ingrain.resource import Resource, resumed
from ingrain.v1 import datasets_pb2 as pb
from ingrain.v1 import trainer_pb2

_MOST_IDS = 10_000  # of a request
_WITHDRAW = "WithdrawRows"
T = TypeVar("T")
Tell = Callable[[str], None]


class AsyncLineage(Resource):
    collection = "datasets"

    async def of(self, dataset: str, row_ids: Sequence[str] = ()) -> Lineage:
        """What came of these rows, or of all of them. An id of a split document stands for its parts.

        Of rows that were withdrawn before, what was made until then is found as well. Raises NotFound for an id that
        the dataset never had.
        """
        name = self._name(dataset)
        rows = await self.rows(name, row_ids)
        datasets = await _all(self._client.datasets.list())
        concerned = Concerned(
            frozenset(found.dataset for found in rows), await self._withdrawals(name, datasets)
        )
        copies = tuple(copies_of(name, datasets))
        return await self._around(Lineage(name, tuple(row_ids), tuple(rows), copies=copies), concerned)

    async def rows(self, dataset: str, row_ids: Sequence[str] = ()) -> list[Rows]:
        """The rows that are there, and derived ones by dataset, in order of derivation."""
        found: dict[str, tuple[int, dict[str, None]]] = {}
        for ids in _parts(list(row_ids)) if row_ids else [[]]:
            request = pb.TraceRowsRequest(name=self._name(dataset), row_ids=ids)
            read = lambda _, request=request: self._client.stubs.datasets.TraceRows(request)  # noqa: E731
            async for message in resumed(read, 0, lambda _: 0):  # after a break from the beginning
                _, known = found.setdefault(message.dataset, (message.depth, {}))
                known.update(dict.fromkeys(message.row_ids))
        return [Rows(name, depth, tuple(ids)) for name, (depth, ids) in found.items()]

    async def withdraw_rows(
        self, dataset: str, row_ids: Sequence[str], request_id: str = "", validate_only: bool = False
    ) -> AsyncOperation:
        """Out of this dataset alone, at most 10,000; what was derived from them stays."""
        request = pb.WithdrawRowsRequest(
            name=self._name(dataset),
            row_ids=row_ids,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return AsyncOperation(self._client, await self._client.stubs.datasets.WithdrawRows(request))

    async def withdraw(
        self, dataset: str, row_ids: Sequence[str], delete_models: bool = False, tell: Tell | None = None
    ) -> Withdrawal:
        """Takes the rows back: out of their dataset and out of all that were derived from it, with the contexts that read
        them, and with `delete_models` the models that were trained on them. A dataset of which nothing would be left is
        deleted. `tell` is given a sentence for each step.

        Derived rows go first and the rows themselves last, so that after a failure anywhere the same call goes on.
        Raises WrongState `DATASET_BUSY` while something is derived from one of the datasets.
        """
        if not row_ids:
            raise errors.Invalid(
                "name the rows to withdraw; a whole dataset is deleted with `datasets.delete`"
            )
        say = tell or (lambda _: None)
        lineage = await self.of(dataset, row_ids)
        deleted: list[str] = []
        if delete_models:
            deleted += await self._delete_models(lineage.models, say)
        emptied, withdrawn = [], {}
        for found in sorted(lineage.rows, key=lambda found: -found.depth):
            if len(found.ids) >= (await self._client.datasets.get(found.dataset)).row_count:
                emptied.append(found)
                continue
            for ids in _parts(found.ids):
                await (await self.withdraw_rows(found.dataset, ids)).result()
            withdrawn[found.dataset] = len(found.ids)
            say(f"{short_id(found.dataset)}: {len(found.ids):,} withdrawn.")
        for found in emptied:
            await self._client.datasets.delete(found.dataset)
            withdrawn[found.dataset] = len(found.ids)
            deleted.append(found.dataset)
            say(f"{short_id(found.dataset)} is deleted: all its rows were withdrawn.")
        # What was made until now is concerned as well.
        datasets = await _all(self._client.datasets.list())
        concerned = Concerned(
            frozenset(found.dataset for found in lineage.rows),
            await self._withdrawals(lineage.dataset, datasets),
        )
        lineage = await self._around(lineage, concerned, [m for m in lineage.models if m.name in deleted])
        for context in lineage.contexts:
            if await _gone(self._client.contexts.delete(context.name)):
                deleted.append(context.name)
                say(f"The context {short_id(context.name)} is deleted.")
        left = tuple(model for model in lineage.models if model.name not in deleted)
        reports = tuple(study.name for study in lineage.studies)
        remaining = _remaining(lineage, left, deleted, self._client.parent)
        return Withdrawal(lineage, withdrawn, tuple(deleted), left, reports, tuple(remaining))

    async def _delete_models(self, models: Sequence[trainer_pb2.Model], say: Tell) -> list[str]:
        """Those that stand on others first, which are not to be had away before; what is being made stays."""
        deleted, left = [], list(models)
        while left:
            needed = {model.base_model for model in left}
            free = [model for model in left if model.name not in needed]
            left = [model for model in left if model.name in needed]
            for model in free:
                try:
                    await self._client.models.delete(model.name)
                except errors.NotFound:
                    continue
                except errors.WrongState as error:
                    say(f"{short_id(model.name)} is not deleted: {error.message}")
                    continue
                deleted.append(model.name)
                say(f"The model {short_id(model.name)} is deleted.")
        return deleted

    async def _withdrawals(self, name: str, datasets: Sequence[pb.Dataset]) -> dict[str, float]:
        """Until when each dataset of the chain held rows that it does not hold now. Where nobody knows: for ever."""
        until: dict[str, float] = {}
        for dataset in derived_from(name, datasets):
            if not dataset.withdrawn_row_count:
                continue
            ended = [
                metadata.end_time.ToNanoseconds() / 1e9
                async for operation in self._client.operations.list(dataset.name)
                if (metadata := operation.metadata).verb == _WITHDRAW and _succeeded(operation.operation)
            ]
            until[dataset.name] = max(ended, default=float("inf"))
        return until

    async def _around(
        self, lineage: Lineage, concerned: Concerned, gone: Sequence[trainer_pb2.Model] = ()
    ) -> Lineage:
        """`gone`: models that were there, of which others still speak."""
        client = self._client
        contexts = [c async for c in client.contexts.list() if concerned.by(c.dataset, c)]
        models = [*models_of(concerned, await _all(client.models.list())), *gone]
        evaluations = evaluations_of(concerned, models, await _all(client.evaluations.list()))
        names = [*(model.name for model in models), *(one.name for one in evaluations)]
        studies = studies_of(concerned, names, await _all(client.studies.list()))
        asked = [*(model.name for model in models), *(context.name for context in contexts)]
        batches = batches_of(concerned, asked, client.parent, await _all(client.batches.list()))
        aliases = aliases_of(concerned, models, client.parent, await _all(client.aliases.list()))
        return Lineage(
            lineage.dataset,
            lineage.row_ids,
            lineage.rows,
            *map(tuple, (contexts, models, evaluations, studies, batches, aliases)),
            copies=lineage.copies,
        )


def _remaining(
    lineage: Lineage, left: Sequence[trainer_pb2.Model], deleted: Sequence[str], parent: str
) -> list[str]:
    touched = {*(model.name for model in left), *deleted}
    return [
        *(
            f"The dataset {short_id(name)} held the same rows; withdraw them from it, too."
            for name in lineage.copies
        ),
        *(
            f"The model {short_id(model.name)} was trained on them; train it again or delete it."
            for model in left
        ),
        *(
            f"The alias {short_id(alias.name)} stands for {short_id(alias.target)}; promote another."
            for alias in lineage.aliases
            if touched & set(meant_by(alias.target, parent))
        ),
        *(
            f"The report of the study {short_id(one.name)} is about them; run it again."
            for one in lineage.studies
        ),
        *(
            f"The answers of the evaluation {short_id(one.name)} may quote them; delete it."
            for one in lineage.evaluations
        ),
        *(
            f"The answers of the batch {short_id(one.name)} may quote them; delete them."
            for one in lineage.batches
        ),
    ]


async def _all(found: AsyncIterator[T]) -> list[T]:
    return [one async for one in found]


async def _gone(deleting: Any) -> bool:
    """Whether this took it away; somebody may have been quicker."""
    try:
        await deleting
    except errors.NotFound:
        return False
    return True


def _succeeded(operation: operations_pb2.Operation) -> bool:
    return operation.done and not operation.HasField("error")


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _MOST_IDS] for start in range(0, len(ids), _MOST_IDS)]
