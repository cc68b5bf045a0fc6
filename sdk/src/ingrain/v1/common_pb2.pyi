import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    CREATING: _ClassVar[State]
    ACTIVE: _ClassVar[State]
    FAILED: _ClassVar[State]
    VERIFYING: _ClassVar[State]
STATE_UNSPECIFIED: State
CREATING: State
ACTIVE: State
FAILED: State
VERIFYING: State

class Cost(_message.Message):
    __slots__ = ("prompt_token_count", "cached_token_count", "generated_token_count", "trained_token_count", "flops", "wall_seconds", "compute_seconds")
    PROMPT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    FLOPS_FIELD_NUMBER: _ClassVar[int]
    WALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    prompt_token_count: int
    cached_token_count: int
    generated_token_count: int
    trained_token_count: int
    flops: float
    wall_seconds: float
    compute_seconds: float
    def __init__(self, prompt_token_count: _Optional[int] = ..., cached_token_count: _Optional[int] = ..., generated_token_count: _Optional[int] = ..., trained_token_count: _Optional[int] = ..., flops: _Optional[float] = ..., wall_seconds: _Optional[float] = ..., compute_seconds: _Optional[float] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("cost", "worker_memory_bytes", "step_count", "row_count", "notes", "price")
    COST_FIELD_NUMBER: _ClassVar[int]
    WORKER_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    cost: Cost
    worker_memory_bytes: int
    step_count: int
    row_count: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    price: Money
    def __init__(self, cost: _Optional[_Union[Cost, _Mapping]] = ..., worker_memory_bytes: _Optional[int] = ..., step_count: _Optional[int] = ..., row_count: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ..., price: _Optional[_Union[Money, _Mapping]] = ...) -> None: ...

class OperationMetadata(_message.Message):
    __slots__ = ("target", "verb", "stage", "completed_count", "total_count", "unit", "message", "attempt_count", "cancel_requested", "estimate", "create_time", "update_time", "end_time", "children")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    target: str
    verb: str
    stage: str
    completed_count: int
    total_count: int
    unit: str
    message: str
    attempt_count: int
    cancel_requested: bool
    estimate: Estimate
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    children: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, target: _Optional[str] = ..., verb: _Optional[str] = ..., stage: _Optional[str] = ..., completed_count: _Optional[int] = ..., total_count: _Optional[int] = ..., unit: _Optional[str] = ..., message: _Optional[str] = ..., attempt_count: _Optional[int] = ..., cancel_requested: bool = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., children: _Optional[_Iterable[str]] = ...) -> None: ...

class RowSelection(_message.Message):
    __slots__ = ("key", "value", "distinct_key", "subset")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_KEY_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    distinct_key: str
    subset: Subset
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ..., distinct_key: _Optional[str] = ..., subset: _Optional[_Union[Subset, _Mapping]] = ...) -> None: ...

class Subset(_message.Message):
    __slots__ = ("share", "seed")
    SHARE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    share: float
    seed: int
    def __init__(self, share: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class Retrieval(_message.Message):
    __slots__ = ("unit", "top_k", "passage_words")
    class Unit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNIT_UNSPECIFIED: _ClassVar[Retrieval.Unit]
        DOCUMENT: _ClassVar[Retrieval.Unit]
        PASSAGE: _ClassVar[Retrieval.Unit]
    UNIT_UNSPECIFIED: Retrieval.Unit
    DOCUMENT: Retrieval.Unit
    PASSAGE: Retrieval.Unit
    UNIT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_WORDS_FIELD_NUMBER: _ClassVar[int]
    unit: Retrieval.Unit
    top_k: int
    passage_words: int
    def __init__(self, unit: _Optional[_Union[Retrieval.Unit, str]] = ..., top_k: _Optional[int] = ..., passage_words: _Optional[int] = ...) -> None: ...

class Money(_message.Message):
    __slots__ = ("currency_code", "amount")
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    currency_code: str
    amount: str
    def __init__(self, currency_code: _Optional[str] = ..., amount: _Optional[str] = ...) -> None: ...

class Environment(_message.Message):
    __slots__ = ("backend", "device", "process_count", "zero_stage", "dtype", "versions", "startup_duration")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    ZERO_STAGE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    STARTUP_DURATION_FIELD_NUMBER: _ClassVar[int]
    backend: str
    device: str
    process_count: int
    zero_stage: int
    dtype: str
    versions: _containers.ScalarMap[str, str]
    startup_duration: _duration_pb2.Duration
    def __init__(self, backend: _Optional[str] = ..., device: _Optional[str] = ..., process_count: _Optional[int] = ..., zero_stage: _Optional[int] = ..., dtype: _Optional[str] = ..., versions: _Optional[_Mapping[str, str]] = ..., startup_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
