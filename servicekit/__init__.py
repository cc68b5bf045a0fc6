"""What every service process shares. Light: no torch, no ray, no transformers.

settings     environment -> one frozen value
errors       domain exceptions, each with its gRPC code and reason
identity     who is calling, and what may be seen
statuses     errors as google.rpc.Status with details
interceptors gateway token, request id, validation, errors -> status, one log line per call
server       serve(): health, reflection, interceptors, graceful drain
database     SQLAlchemy's sync engine in one worker thread; SQLite and PostgreSQL
resources    rows of protobuf messages by name: create, get, list, delete
operations   durable long-running operations: lease, fence, attempts, idempotency
task         one attempt at an operation, as its handler sees it
worker       runs operations of this process, heartbeats, hands over
storage      bytes by URI: a folder or any S3
model_files  a model's manifest, and where its files lie
costs        floating-point operations of reading, writing and training
amounts      costs added, and taken out of one another: pure
prices       a device's time or a server's tokens -> money, by the operator's table
patience     calls that are made again while the other side is full or away
pace         how long what is under way will take
failpoints   named places where tests end the process
telemetry    structured logs
metrics      counts and durations for Prometheus, on a side port
backlog      how many operations wait and run, for metrics
"""
