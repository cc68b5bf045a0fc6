"""The two tables of every service: resources and operations."""

import sqlalchemy as sa

from servicekit.database import metadata

resource = sa.Table(
    "resource",
    metadata,
    sa.Column(
        "sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("collection", sa.String(63), nullable=False),
    sa.Column("parent", sa.String(127), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # the resource's message
    sa.Column("request_id", sa.String(127)),
    sa.Column("request_sha256", sa.String(64)),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("deleted", sa.Float),  # a tombstone: the name stays taken
    sa.Index("resource_page", "parent", "collection", "sequence"),
    sa.UniqueConstraint("parent", "collection", "request_id"),
)

operation = sa.Table(
    "operation",
    metadata,
    sa.Column(
        "sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("project", sa.String(127), nullable=False),
    sa.Column("target", sa.String(255), nullable=False),
    sa.Column("verb", sa.String(63), nullable=False),
    sa.Column("state", sa.String(15), nullable=False),  # PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("request_id", sa.String(127), nullable=False),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("metadata", sa.LargeBinary, nullable=False),  # OperationMetadata
    sa.Column("notes", sa.Text, nullable=False, default="{}"),  # the handler's own, kept over attempts
    sa.Column("result", sa.LargeBinary),  # Any
    sa.Column("error", sa.LargeBinary),  # google.rpc.Status
    sa.Column("owner", sa.String(63)),
    sa.Column("lease_until", sa.Float),
    sa.Column("fence", sa.Integer, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),  # claims
    sa.Column("failures", sa.Integer, nullable=False, default=0),  # attempts that ended in a transient error
    sa.Column("causes", sa.Text, nullable=False, default=""),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("not_before", sa.Float, nullable=False, default=0.0),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("updated", sa.Float, nullable=False),
    sa.Index("operation_queue", "state", "not_before", "lease_until"),
    sa.UniqueConstraint("project", "verb", "request_id"),
)
