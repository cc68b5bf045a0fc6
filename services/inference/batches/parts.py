"""Answers as they are kept: an object for each shard, and a row in SQL, written under the operation's fence, that says so.

A shard without a row was not answered, whatever lies in storage; one with a row is never asked again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ingrain.v1 import batches_pb2, common_pb2, datasets_pb2
from ingrain.v1 import inference_pb2 as pb
from servicekit.database import metadata
from servicekit.failpoints import failpoint
from servicekit.resources import Resources
from servicekit.storage import Storage
from servicekit.worker import Task
from services.inference.batches.reading import Span
from services.inference.batches.rows import Answer

COLLECTION = "batches"
LABEL = "batch"  # of a dataset of answers: whose they are

table = sa.Table(
    "inference_batch_part",
    metadata,
    sa.Column("batch", sa.String(255), primary_key=True),
    sa.Column("start_row", sa.BigInteger, primary_key=True),
    sa.Column("row_count", sa.Integer, nullable=False),  # of the shard
    sa.Column("begin_byte", sa.BigInteger, nullable=False),
    sa.Column("end_byte", sa.BigInteger, nullable=False),
    sa.Column("answer_count", sa.Integer, nullable=False),  # fewer where a batch was cancelled in the middle
    sa.Column("storage_key", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Part:
    span: Span
    answer_count: int
    storage_key: str


class BatchRows(Resources[batches_pb2.Batch]):
    """The batches. One that has answers can be used, however its operation ended."""

    def replace_in(
        self, connection: sa.Connection, message: batches_pb2.Batch | datasets_pb2.Dataset
    ) -> None:
        """Of the batch, or of the dataset in which its operation ends."""
        batch = message
        if isinstance(message, datasets_pb2.Dataset):
            batch = self.get_in(connection, message.labels[LABEL], lock=True, deleted_too=True)
            batch.output_dataset = message.name
        if batch.output_dataset:
            batch.state = common_pb2.ACTIVE
        super().replace_in(connection, batch)


class Parts:
    """Of one batch, as one attempt at it reads and writes them."""

    def __init__(self, rows: BatchRows, storage: Storage, task: Task, begun: float) -> None:
        """`begun`: when the first attempt was, in seconds since the epoch."""
        self._rows = rows
        self._storage = storage
        self._task = task
        self._begun = begun

    async def found(self) -> list[Part]:
        """Those that are kept, in the order of the rows."""
        return await self._rows.database.run(lambda connection: found_in(connection, self._task.target))

    async def keep(self, span: Span, answers: Sequence[Answer], usage: pb.Usage) -> batches_pb2.Batch:
        """The object first, then row and counts in one transaction; the batch as it stands then."""
        key = f"{self._task.prefix}/answers-{span.start_row:012d}.jsonl"
        ordered = sorted(answers, key=lambda answer: answer.number)
        await self._storage.put(key, b"".join(answer.line for answer in ordered))
        failpoint("batches.after_object")

        def keep(connection: sa.Connection) -> batches_pb2.Batch:
            self._task.write_in(connection)  # the fence
            connection.execute(
                table.insert().values(
                    batch=self._task.target,
                    start_row=span.start_row,
                    row_count=span.row_count,
                    begin_byte=span.begin_byte,
                    end_byte=span.end_byte,
                    answer_count=len(ordered),
                    storage_key=key,
                )
            )
            batch = self._rows.get_in(connection, self._task.target, lock=True, deleted_too=True)
            batch.answered_count += len(ordered)
            batch.error_count += sum(answer.is_error for answer in ordered)
            add_usage(batch.cost, usage)
            batch.cost.wall_seconds = time.time() - self._begun
            self._rows.replace_in(connection, batch)
            failpoint("batches.before_commit")
            return batch

        batch = await self._rows.database.run(keep)
        failpoint("batches.after_part")
        return batch

    async def begin(self, row_count: int) -> batches_pb2.Batch:
        """Writes down what is known from the start."""

        def begin(connection: sa.Connection) -> batches_pb2.Batch:
            self._task.write_in(connection)
            batch = self._rows.get_in(connection, self._task.target, lock=True, deleted_too=True)
            batch.row_count, batch.operation = row_count, self._task.name
            self._rows.replace_in(connection, batch)
            return batch

        return await self._rows.database.run(begin)

    async def end(self, output: str) -> None:
        """Of a batch that is cancelled: what was answered is its output."""

        def end(connection: sa.Connection) -> None:
            self._task.write_in(connection)
            batch = self._rows.get_in(connection, self._task.target, lock=True, deleted_too=True)
            batch.output_dataset = output
            self._rows.replace_in(connection, batch)

        await self._rows.database.run(end)


def found_in(connection: sa.Connection, batch: str) -> list[Part]:
    query = table.select().where(table.c.batch == batch).order_by(table.c.start_row)
    return [
        Part(
            Span(row.start_row, row.row_count, row.begin_byte, row.end_byte),
            row.answer_count,
            row.storage_key,
        )
        for row in connection.execute(query)
    ]


def add_usage(cost: common_pb2.Cost, usage: pb.Usage) -> None:
    cost.prompt_token_count += usage.prompt_token_count - usage.cached_token_count
    cost.cached_token_count += usage.cached_token_count
    cost.generated_token_count += usage.generated_token_count
    cost.flops += usage.flops
    cost.compute_seconds += usage.compute_seconds
