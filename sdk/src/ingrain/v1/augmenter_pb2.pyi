from buf.validate import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AugmentationSpec(_message.Message):
    __slots__ = ("dataset", "model", "strategies", "samples_per_document", "temperature", "max_tokens", "seed", "group_key", "prompt_set", "shuffled", "distinct_key", "min_agreement", "prompts", "context_document_count", "target_tokens", "original_copies", "gates")
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
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_COPIES_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
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
    prompts: _containers.RepeatedCompositeFieldContainer[PromptTemplate]
    context_document_count: int
    target_tokens: int
    original_copies: int
    gates: QualityGates
    def __init__(self, dataset: _Optional[str] = ..., model: _Optional[str] = ..., strategies: _Optional[_Iterable[str]] = ..., samples_per_document: _Optional[int] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., group_key: _Optional[str] = ..., prompt_set: _Optional[str] = ..., shuffled: bool = ..., distinct_key: _Optional[str] = ..., min_agreement: _Optional[int] = ..., prompts: _Optional[_Iterable[_Union[PromptTemplate, _Mapping]]] = ..., context_document_count: _Optional[int] = ..., target_tokens: _Optional[int] = ..., original_copies: _Optional[int] = ..., gates: _Optional[_Union[QualityGates, _Mapping]] = ...) -> None: ...

class PromptTemplate(_message.Message):
    __slots__ = ("strategy", "text", "sees", "structured")
    class Sees(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEES_UNSPECIFIED: _ClassVar[PromptTemplate.Sees]
        ONE_DOCUMENT: _ClassVar[PromptTemplate.Sees]
        ALL_DOCUMENTS: _ClassVar[PromptTemplate.Sees]
        SUBJECT_AMONG_ALL: _ClassVar[PromptTemplate.Sees]
    SEES_UNSPECIFIED: PromptTemplate.Sees
    ONE_DOCUMENT: PromptTemplate.Sees
    ALL_DOCUMENTS: PromptTemplate.Sees
    SUBJECT_AMONG_ALL: PromptTemplate.Sees
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SEES_FIELD_NUMBER: _ClassVar[int]
    STRUCTURED_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    text: str
    sees: PromptTemplate.Sees
    structured: bool
    def __init__(self, strategy: _Optional[str] = ..., text: _Optional[str] = ..., sees: _Optional[_Union[PromptTemplate.Sees, str]] = ..., structured: bool = ...) -> None: ...

class QualityGates(_message.Message):
    __slots__ = ("keep_copies", "keep_duplicates", "near_duplicate_threshold", "on_topic", "likelier_than_contradiction", "judge", "max_characters")
    KEEP_COPIES_FIELD_NUMBER: _ClassVar[int]
    KEEP_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    NEAR_DUPLICATE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ON_TOPIC_FIELD_NUMBER: _ClassVar[int]
    LIKELIER_THAN_CONTRADICTION_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    MAX_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    keep_copies: bool
    keep_duplicates: bool
    near_duplicate_threshold: float
    on_topic: bool
    likelier_than_contradiction: bool
    judge: str
    max_characters: int
    def __init__(self, keep_copies: bool = ..., keep_duplicates: bool = ..., near_duplicate_threshold: _Optional[float] = ..., on_topic: bool = ..., likelier_than_contradiction: bool = ..., judge: _Optional[str] = ..., max_characters: _Optional[int] = ...) -> None: ...

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
