import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from ingrain.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Dataset(_message.Message):
    __slots__ = ("name", "display_name", "kind", "state", "row_count", "size_bytes", "sha256", "uri", "create_time", "provenance", "counts", "labels", "withdrawn_row_count")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Dataset.Kind]
        DOCUMENTS: _ClassVar[Dataset.Kind]
        MESSAGES: _ClassVar[Dataset.Kind]
        PROMPT_COMPLETION: _ClassVar[Dataset.Kind]
        PROBES: _ClassVar[Dataset.Kind]
        PROMPTS: _ClassVar[Dataset.Kind]
        ANSWERS: _ClassVar[Dataset.Kind]
    KIND_UNSPECIFIED: Dataset.Kind
    DOCUMENTS: Dataset.Kind
    MESSAGES: Dataset.Kind
    PROMPT_COMPLETION: Dataset.Kind
    PROBES: Dataset.Kind
    PROMPTS: Dataset.Kind
    ANSWERS: Dataset.Kind
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    kind: Dataset.Kind
    state: _common_pb2.State
    row_count: int
    size_bytes: int
    sha256: str
    uri: str
    create_time: _timestamp_pb2.Timestamp
    provenance: Provenance
    counts: _containers.ScalarMap[str, int]
    labels: _containers.ScalarMap[str, str]
    withdrawn_row_count: int
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., kind: _Optional[_Union[Dataset.Kind, str]] = ..., state: _Optional[_Union[_common_pb2.State, str]] = ..., row_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., uri: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., counts: _Optional[_Mapping[str, int]] = ..., labels: _Optional[_Mapping[str, str]] = ..., withdrawn_row_count: _Optional[int] = ...) -> None: ...

class Splitting(_message.Message):
    __slots__ = ("max_characters", "overlap_characters")
    MAX_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    max_characters: int
    overlap_characters: int
    def __init__(self, max_characters: _Optional[int] = ..., overlap_characters: _Optional[int] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("source_dataset", "source_sha256", "model", "model_sha256", "strategies", "prompt_set", "dropped_counts", "kept_counts", "cost", "prompt_count", "reused_prompt_count", "dropped_examples", "notes", "token_count", "judge", "judge_sha256", "judge_cost", "price")
    class DroppedCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class KeptCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class DroppedExamplesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Examples
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Examples, _Mapping]] = ...) -> None: ...
    SOURCE_DATASET_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SHA256_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    STRATEGIES_FIELD_NUMBER: _ClassVar[int]
    PROMPT_SET_FIELD_NUMBER: _ClassVar[int]
    DROPPED_COUNTS_FIELD_NUMBER: _ClassVar[int]
    KEPT_COUNTS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    PROMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    REUSED_PROMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    JUDGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    JUDGE_COST_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    source_dataset: str
    source_sha256: str
    model: str
    model_sha256: str
    strategies: _containers.RepeatedScalarFieldContainer[str]
    prompt_set: str
    dropped_counts: _containers.ScalarMap[str, int]
    kept_counts: _containers.ScalarMap[str, int]
    cost: _common_pb2.Cost
    prompt_count: int
    reused_prompt_count: int
    dropped_examples: _containers.MessageMap[str, Examples]
    notes: _containers.RepeatedScalarFieldContainer[str]
    token_count: int
    judge: str
    judge_sha256: str
    judge_cost: _common_pb2.Cost
    price: _common_pb2.Money
    def __init__(self, source_dataset: _Optional[str] = ..., source_sha256: _Optional[str] = ..., model: _Optional[str] = ..., model_sha256: _Optional[str] = ..., strategies: _Optional[_Iterable[str]] = ..., prompt_set: _Optional[str] = ..., dropped_counts: _Optional[_Mapping[str, int]] = ..., kept_counts: _Optional[_Mapping[str, int]] = ..., cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., prompt_count: _Optional[int] = ..., reused_prompt_count: _Optional[int] = ..., dropped_examples: _Optional[_Mapping[str, Examples]] = ..., notes: _Optional[_Iterable[str]] = ..., token_count: _Optional[int] = ..., judge: _Optional[str] = ..., judge_sha256: _Optional[str] = ..., judge_cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., price: _Optional[_Union[_common_pb2.Money, _Mapping]] = ...) -> None: ...

class Examples(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...

class UploadDatasetRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadDatasetHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[UploadDatasetHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadDatasetHeader(_message.Message):
    __slots__ = ("parent", "dataset_id", "dataset", "request_id", "sha256", "file_name", "splitting")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    SPLITTING_FIELD_NUMBER: _ClassVar[int]
    parent: str
    dataset_id: str
    dataset: Dataset
    request_id: str
    sha256: str
    file_name: str
    splitting: Splitting
    def __init__(self, parent: _Optional[str] = ..., dataset_id: _Optional[str] = ..., dataset: _Optional[_Union[Dataset, _Mapping]] = ..., request_id: _Optional[str] = ..., sha256: _Optional[str] = ..., file_name: _Optional[str] = ..., splitting: _Optional[_Union[Splitting, _Mapping]] = ...) -> None: ...

class ImportDatasetRequest(_message.Message):
    __slots__ = ("parent", "dataset_id", "dataset", "source_uri", "request_id", "validate_only", "splitting")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SOURCE_URI_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    SPLITTING_FIELD_NUMBER: _ClassVar[int]
    parent: str
    dataset_id: str
    dataset: Dataset
    source_uri: str
    request_id: str
    validate_only: bool
    splitting: Splitting
    def __init__(self, parent: _Optional[str] = ..., dataset_id: _Optional[str] = ..., dataset: _Optional[_Union[Dataset, _Mapping]] = ..., source_uri: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., splitting: _Optional[_Union[Splitting, _Mapping]] = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReadRowsRequest(_message.Message):
    __slots__ = ("name", "start_row", "max_row_count", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_ROW_FIELD_NUMBER: _ClassVar[int]
    MAX_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_row: int
    max_row_count: int
    sha256: str
    def __init__(self, name: _Optional[str] = ..., start_row: _Optional[int] = ..., max_row_count: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class ReadRowsResponse(_message.Message):
    __slots__ = ("rows", "start_row", "sha256")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    START_ROW_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedScalarFieldContainer[str]
    start_row: int
    sha256: str
    def __init__(self, rows: _Optional[_Iterable[str]] = ..., start_row: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class TraceRowsRequest(_message.Message):
    __slots__ = ("name", "row_ids")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    row_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., row_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class TraceRowsResponse(_message.Message):
    __slots__ = ("dataset", "row_ids", "depth")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    row_ids: _containers.RepeatedScalarFieldContainer[str]
    depth: int
    def __init__(self, dataset: _Optional[str] = ..., row_ids: _Optional[_Iterable[str]] = ..., depth: _Optional[int] = ...) -> None: ...

class WithdrawRowsRequest(_message.Message):
    __slots__ = ("name", "row_ids", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    row_ids: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., row_ids: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...
