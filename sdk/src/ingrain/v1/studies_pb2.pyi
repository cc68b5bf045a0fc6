import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from ingrain.v1 import augmenter_pb2 as _augmenter_pb2
from ingrain.v1 import common_pb2 as _common_pb2
from ingrain.v1 import evaluator_pb2 as _evaluator_pb2
from ingrain.v1 import trainer_pb2 as _trainer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Matching(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCHING_UNSPECIFIED: _ClassVar[Matching]
    STEPS: _ClassVar[Matching]
    TOKENS: _ClassVar[Matching]
MATCHING_UNSPECIFIED: Matching
STEPS: Matching
TOKENS: Matching

class StudySpec(_message.Message):
    __slots__ = ("dataset", "probes", "model", "methods", "training", "augmentation", "group_key", "distinct_key", "seed", "question_count", "tolerance", "contenders", "training_seeds", "matching", "retention", "requirements", "subset", "retrieval", "judge", "asking", "previous_study", "exclusion")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    AUGMENTATION_FIELD_NUMBER: _ClassVar[int]
    GROUP_KEY_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_KEY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    QUESTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    CONTENDERS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_SEEDS_FIELD_NUMBER: _ClassVar[int]
    MATCHING_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    ASKING_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_STUDY_FIELD_NUMBER: _ClassVar[int]
    EXCLUSION_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    probes: str
    model: str
    methods: _containers.RepeatedScalarFieldContainer[str]
    training: _trainer_pb2.TrainingSpec
    augmentation: _augmenter_pb2.AugmentationSpec
    group_key: str
    distinct_key: str
    seed: int
    question_count: int
    tolerance: float
    contenders: _containers.RepeatedCompositeFieldContainer[Contender]
    training_seeds: _containers.RepeatedScalarFieldContainer[int]
    matching: Matching
    retention: Retention
    requirements: Requirements
    subset: _common_pb2.Subset
    retrieval: _common_pb2.Retrieval
    judge: _evaluator_pb2.Judge
    asking: _evaluator_pb2.Evaluation.Asking
    previous_study: str
    exclusion: Exclusion
    def __init__(self, dataset: _Optional[str] = ..., probes: _Optional[str] = ..., model: _Optional[str] = ..., methods: _Optional[_Iterable[str]] = ..., training: _Optional[_Union[_trainer_pb2.TrainingSpec, _Mapping]] = ..., augmentation: _Optional[_Union[_augmenter_pb2.AugmentationSpec, _Mapping]] = ..., group_key: _Optional[str] = ..., distinct_key: _Optional[str] = ..., seed: _Optional[int] = ..., question_count: _Optional[int] = ..., tolerance: _Optional[float] = ..., contenders: _Optional[_Iterable[_Union[Contender, _Mapping]]] = ..., training_seeds: _Optional[_Iterable[int]] = ..., matching: _Optional[_Union[Matching, str]] = ..., retention: _Optional[_Union[Retention, _Mapping]] = ..., requirements: _Optional[_Union[Requirements, _Mapping]] = ..., subset: _Optional[_Union[_common_pb2.Subset, _Mapping]] = ..., retrieval: _Optional[_Union[_common_pb2.Retrieval, _Mapping]] = ..., judge: _Optional[_Union[_evaluator_pb2.Judge, _Mapping]] = ..., asking: _Optional[_Union[_evaluator_pb2.Evaluation.Asking, str]] = ..., previous_study: _Optional[str] = ..., exclusion: _Optional[_Union[Exclusion, _Mapping]] = ...) -> None: ...

class Exclusion(_message.Message):
    __slots__ = ("seen", "covered", "group_key")
    SEEN_FIELD_NUMBER: _ClassVar[int]
    COVERED_FIELD_NUMBER: _ClassVar[int]
    GROUP_KEY_FIELD_NUMBER: _ClassVar[int]
    seen: bool
    covered: bool
    group_key: str
    def __init__(self, seen: bool = ..., covered: bool = ..., group_key: _Optional[str] = ...) -> None: ...

class Contender(_message.Message):
    __slots__ = ("model", "methods")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    model: str
    methods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., methods: _Optional[_Iterable[str]] = ...) -> None: ...

class Retention(_message.Message):
    __slots__ = ("text", "probes", "context", "context_probes", "group_key", "distinct_key")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_PROBES_FIELD_NUMBER: _ClassVar[int]
    GROUP_KEY_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_KEY_FIELD_NUMBER: _ClassVar[int]
    text: str
    probes: str
    context: str
    context_probes: str
    group_key: str
    distinct_key: str
    def __init__(self, text: _Optional[str] = ..., probes: _Optional[str] = ..., context: _Optional[str] = ..., context_probes: _Optional[str] = ..., group_key: _Optional[str] = ..., distinct_key: _Optional[str] = ...) -> None: ...

class Requirements(_message.Message):
    __slots__ = ("questions_per_month", "months", "budget", "latency_seconds")
    QUESTIONS_PER_MONTH_FIELD_NUMBER: _ClassVar[int]
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    LATENCY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    questions_per_month: int
    months: int
    budget: _common_pb2.Money
    latency_seconds: float
    def __init__(self, questions_per_month: _Optional[int] = ..., months: _Optional[int] = ..., budget: _Optional[_Union[_common_pb2.Money, _Mapping]] = ..., latency_seconds: _Optional[float] = ...) -> None: ...

class PriceTable(_message.Message):
    __slots__ = ("effective_date", "currency_code", "device_hours", "tokens", "source")
    class DeviceHoursEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TokensEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: TokenPrice
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[TokenPrice, _Mapping]] = ...) -> None: ...
    EFFECTIVE_DATE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_CODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_HOURS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    effective_date: str
    currency_code: str
    device_hours: _containers.ScalarMap[str, str]
    tokens: _containers.MessageMap[str, TokenPrice]
    source: str
    def __init__(self, effective_date: _Optional[str] = ..., currency_code: _Optional[str] = ..., device_hours: _Optional[_Mapping[str, str]] = ..., tokens: _Optional[_Mapping[str, TokenPrice]] = ..., source: _Optional[str] = ...) -> None: ...

class TokenPrice(_message.Message):
    __slots__ = ("prompt", "cached", "generated")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    GENERATED_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    cached: str
    generated: str
    def __init__(self, prompt: _Optional[str] = ..., cached: _Optional[str] = ..., generated: _Optional[str] = ...) -> None: ...

class Study(_message.Message):
    __slots__ = ("name", "display_name", "spec", "state", "steps", "outcomes", "recommendation", "create_time", "end_time", "paused")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    spec: StudySpec
    state: _common_pb2.State
    steps: _containers.RepeatedCompositeFieldContainer[StudyStep]
    outcomes: _containers.RepeatedCompositeFieldContainer[MethodOutcome]
    recommendation: Recommendation
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    paused: bool
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., spec: _Optional[_Union[StudySpec, _Mapping]] = ..., state: _Optional[_Union[_common_pb2.State, str]] = ..., steps: _Optional[_Iterable[_Union[StudyStep, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[MethodOutcome, _Mapping]]] = ..., recommendation: _Optional[_Union[Recommendation, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., paused: bool = ...) -> None: ...

class StudyStep(_message.Message):
    __slots__ = ("id", "status", "resource", "operation", "cost", "fingerprint")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[StudyStep.Status]
        RUNNING: _ClassVar[StudyStep.Status]
        DONE: _ClassVar[StudyStep.Status]
        REUSED: _ClassVar[StudyStep.Status]
        ERROR: _ClassVar[StudyStep.Status]
    STATUS_UNSPECIFIED: StudyStep.Status
    RUNNING: StudyStep.Status
    DONE: StudyStep.Status
    REUSED: StudyStep.Status
    ERROR: StudyStep.Status
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: StudyStep.Status
    resource: str
    operation: str
    cost: _common_pb2.Cost
    fingerprint: str
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[StudyStep.Status, str]] = ..., resource: _Optional[str] = ..., operation: _Optional[str] = ..., cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class MethodOutcome(_message.Message):
    __slots__ = ("method", "model", "evaluation", "kinds", "build_cost", "question_cost", "break_even_question_count", "accuracy", "ci95_low", "ci95_high", "build_price", "thousand_questions_price", "latency_p95_seconds")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    BUILD_COST_FIELD_NUMBER: _ClassVar[int]
    QUESTION_COST_FIELD_NUMBER: _ClassVar[int]
    BREAK_EVEN_QUESTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    CI95_LOW_FIELD_NUMBER: _ClassVar[int]
    CI95_HIGH_FIELD_NUMBER: _ClassVar[int]
    BUILD_PRICE_FIELD_NUMBER: _ClassVar[int]
    THOUSAND_QUESTIONS_PRICE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_SECONDS_FIELD_NUMBER: _ClassVar[int]
    method: str
    model: str
    evaluation: str
    kinds: _containers.RepeatedCompositeFieldContainer[_evaluator_pb2.KindResult]
    build_cost: _common_pb2.Cost
    question_cost: _common_pb2.Cost
    break_even_question_count: int
    accuracy: float
    ci95_low: float
    ci95_high: float
    build_price: _common_pb2.Money
    thousand_questions_price: _common_pb2.Money
    latency_p95_seconds: float
    def __init__(self, method: _Optional[str] = ..., model: _Optional[str] = ..., evaluation: _Optional[str] = ..., kinds: _Optional[_Iterable[_Union[_evaluator_pb2.KindResult, _Mapping]]] = ..., build_cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., question_cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., break_even_question_count: _Optional[int] = ..., accuracy: _Optional[float] = ..., ci95_low: _Optional[float] = ..., ci95_high: _Optional[float] = ..., build_price: _Optional[_Union[_common_pb2.Money, _Mapping]] = ..., thousand_questions_price: _Optional[_Union[_common_pb2.Money, _Mapping]] = ..., latency_p95_seconds: _Optional[float] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("method", "model", "reason", "decisive", "confidence", "changes", "context")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DECISIVE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    method: str
    model: str
    reason: str
    decisive: bool
    confidence: float
    changes: _containers.RepeatedScalarFieldContainer[str]
    context: _evaluator_pb2.SubjectContext
    def __init__(self, method: _Optional[str] = ..., model: _Optional[str] = ..., reason: _Optional[str] = ..., decisive: bool = ..., confidence: _Optional[float] = ..., changes: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[_evaluator_pb2.SubjectContext, _Mapping]] = ...) -> None: ...

class StudyEvent(_message.Message):
    __slots__ = ("sequence", "event_time", "step", "progress", "message")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    event_time: _timestamp_pb2.Timestamp
    step: StudyStep
    progress: _common_pb2.OperationMetadata
    message: str
    def __init__(self, sequence: _Optional[int] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[_Union[StudyStep, _Mapping]] = ..., progress: _Optional[_Union[_common_pb2.OperationMetadata, _Mapping]] = ..., message: _Optional[str] = ...) -> None: ...

class CreateStudyRequest(_message.Message):
    __slots__ = ("parent", "study_id", "study", "request_id", "validate_only", "trial")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    STUDY_ID_FIELD_NUMBER: _ClassVar[int]
    STUDY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    parent: str
    study_id: str
    study: Study
    request_id: str
    validate_only: bool
    trial: bool
    def __init__(self, parent: _Optional[str] = ..., study_id: _Optional[str] = ..., study: _Optional[_Union[Study, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., trial: bool = ...) -> None: ...

class GetStudyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListStudiesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListStudiesResponse(_message.Message):
    __slots__ = ("studies", "next_page_token")
    STUDIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    studies: _containers.RepeatedCompositeFieldContainer[Study]
    next_page_token: str
    def __init__(self, studies: _Optional[_Iterable[_Union[Study, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteStudyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PauseStudyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeStudyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPriceTableRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchStudyRequest(_message.Message):
    __slots__ = ("name", "start_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_sequence: int
    def __init__(self, name: _Optional[str] = ..., start_sequence: _Optional[int] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("name", "format")
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[GetReportRequest.Format]
        JSON: _ClassVar[GetReportRequest.Format]
        MARKDOWN: _ClassVar[GetReportRequest.Format]
        HTML: _ClassVar[GetReportRequest.Format]
    FORMAT_UNSPECIFIED: GetReportRequest.Format
    JSON: GetReportRequest.Format
    MARKDOWN: GetReportRequest.Format
    HTML: GetReportRequest.Format
    NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    name: str
    format: GetReportRequest.Format
    def __init__(self, name: _Optional[str] = ..., format: _Optional[_Union[GetReportRequest.Format, str]] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("content", "media_type", "sha256")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    media_type: str
    sha256: str
    def __init__(self, content: _Optional[bytes] = ..., media_type: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...
