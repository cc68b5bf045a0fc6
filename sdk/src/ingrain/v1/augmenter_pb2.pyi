from buf.validate import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AugmentationSpec(_message.Message):
    __slots__ = ("dataset", "model", "strategies", "samples_per_document", "temperature", "max_tokens", "seed", "group_key", "prompt_set", "shuffled", "distinct_key", "min_agreement")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STRATEGIES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    GROUP_KEY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_SET_FIELD_NUMBER: _ClassVar[int]
    SHUFFLED_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_KEY_FIELD_NUMBER: _ClassVar[int]
    MIN_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    model: str
    strategies: _containers.RepeatedScalarFieldContainer[str]
    samples_per_document: int
    temperature: float
    max_tokens: int
    seed: int
    group_key: str
    prompt_set: str
    shuffled: bool
    distinct_key: str
    min_agreement: int
    def __init__(self, dataset: _Optional[str] = ..., model: _Optional[str] = ..., strategies: _Optional[_Iterable[str]] = ..., samples_per_document: _Optional[int] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., group_key: _Optional[str] = ..., prompt_set: _Optional[str] = ..., shuffled: bool = ..., distinct_key: _Optional[str] = ..., min_agreement: _Optional[int] = ...) -> None: ...

class AugmentDatasetRequest(_message.Message):
    __slots__ = ("parent", "dataset_id", "spec", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    dataset_id: str
    spec: AugmentationSpec
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., dataset_id: _Optional[str] = ..., spec: _Optional[_Union[AugmentationSpec, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class PreviewAugmentationRequest(_message.Message):
    __slots__ = ("parent", "spec", "document_count")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    spec: AugmentationSpec
    document_count: int
    def __init__(self, parent: _Optional[str] = ..., spec: _Optional[_Union[AugmentationSpec, _Mapping]] = ..., document_count: _Optional[int] = ...) -> None: ...

class PreviewAugmentationResponse(_message.Message):
    __slots__ = ("rows", "dropped", "prompts")
    class PromptsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedScalarFieldContainer[str]
    dropped: _containers.RepeatedCompositeFieldContainer[DroppedOutput]
    prompts: _containers.ScalarMap[str, str]
    def __init__(self, rows: _Optional[_Iterable[str]] = ..., dropped: _Optional[_Iterable[_Union[DroppedOutput, _Mapping]]] = ..., prompts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DroppedOutput(_message.Message):
    __slots__ = ("reason", "text", "strategy")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    text: str
    strategy: str
    def __init__(self, reason: _Optional[str] = ..., text: _Optional[str] = ..., strategy: _Optional[str] = ...) -> None: ...
