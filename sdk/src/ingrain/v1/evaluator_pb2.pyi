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

class Subject(_message.Message):
    __slots__ = ("model", "context")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    context: SubjectContext
    def __init__(self, model: _Optional[str] = ..., context: _Optional[_Union[SubjectContext, _Mapping]] = ...) -> None: ...

class SubjectContext(_message.Message):
    __slots__ = ("dataset", "group_key", "distinct_key", "subset", "retrieval")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    GROUP_KEY_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_KEY_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    group_key: str
    distinct_key: str
    subset: _common_pb2.Subset
    retrieval: _common_pb2.Retrieval
    def __init__(self, dataset: _Optional[str] = ..., group_key: _Optional[str] = ..., distinct_key: _Optional[str] = ..., subset: _Optional[_Union[_common_pb2.Subset, _Mapping]] = ..., retrieval: _Optional[_Union[_common_pb2.Retrieval, _Mapping]] = ...) -> None: ...

class Judge(_message.Message):
    __slots__ = ("model", "rubric", "model_sha256")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RUBRIC_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    model: str
    rubric: str
    model_sha256: str
    def __init__(self, model: _Optional[str] = ..., rubric: _Optional[str] = ..., model_sha256: _Optional[str] = ...) -> None: ...

class Evaluation(_message.Message):
    __slots__ = ("name", "subject", "probes", "cluster_key", "question_template", "state", "kinds", "cost", "probe_count", "probes_sha256", "results_uri", "create_time", "environment", "model_sha256", "judge", "judge_cost", "asking", "reused_probe_count", "contexts")
    class Asking(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ASKING_UNSPECIFIED: _ClassVar[Evaluation.Asking]
        CHOICE: _ClassVar[Evaluation.Asking]
        GENERATION: _ClassVar[Evaluation.Asking]
    ASKING_UNSPECIFIED: Evaluation.Asking
    CHOICE: Evaluation.Asking
    GENERATION: Evaluation.Asking
    class ContextsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_KEY_FIELD_NUMBER: _ClassVar[int]
    QUESTION_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    PROBE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROBES_SHA256_FIELD_NUMBER: _ClassVar[int]
    RESULTS_URI_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    JUDGE_FIELD_NUMBER: _ClassVar[int]
    JUDGE_COST_FIELD_NUMBER: _ClassVar[int]
    ASKING_FIELD_NUMBER: _ClassVar[int]
    REUSED_PROBE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTEXTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    subject: Subject
    probes: str
    cluster_key: str
    question_template: str
    state: _common_pb2.State
    kinds: _containers.RepeatedCompositeFieldContainer[KindResult]
    cost: _common_pb2.Cost
    probe_count: int
    probes_sha256: str
    results_uri: str
    create_time: _timestamp_pb2.Timestamp
    environment: _common_pb2.Environment
    model_sha256: str
    judge: Judge
    judge_cost: _common_pb2.Cost
    asking: Evaluation.Asking
    reused_probe_count: int
    contexts: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., subject: _Optional[_Union[Subject, _Mapping]] = ..., probes: _Optional[str] = ..., cluster_key: _Optional[str] = ..., question_template: _Optional[str] = ..., state: _Optional[_Union[_common_pb2.State, str]] = ..., kinds: _Optional[_Iterable[_Union[KindResult, _Mapping]]] = ..., cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., probe_count: _Optional[int] = ..., probes_sha256: _Optional[str] = ..., results_uri: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., environment: _Optional[_Union[_common_pb2.Environment, _Mapping]] = ..., model_sha256: _Optional[str] = ..., judge: _Optional[_Union[Judge, _Mapping]] = ..., judge_cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., asking: _Optional[_Union[Evaluation.Asking, str]] = ..., reused_probe_count: _Optional[int] = ..., contexts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class KindResult(_message.Message):
    __slots__ = ("kind", "metric", "value", "n", "stderr", "ci95_low", "ci95_high", "metrics", "chance", "tie_count", "supported_count", "supported_value")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    CI95_LOW_FIELD_NUMBER: _ClassVar[int]
    CI95_HIGH_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CHANCE_FIELD_NUMBER: _ClassVar[int]
    TIE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_VALUE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    metric: str
    value: float
    n: int
    stderr: float
    ci95_low: float
    ci95_high: float
    metrics: _containers.ScalarMap[str, float]
    chance: float
    tie_count: int
    supported_count: int
    supported_value: float
    def __init__(self, kind: _Optional[str] = ..., metric: _Optional[str] = ..., value: _Optional[float] = ..., n: _Optional[int] = ..., stderr: _Optional[float] = ..., ci95_low: _Optional[float] = ..., ci95_high: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., chance: _Optional[float] = ..., tie_count: _Optional[int] = ..., supported_count: _Optional[int] = ..., supported_value: _Optional[float] = ...) -> None: ...

class CreateEvaluationRequest(_message.Message):
    __slots__ = ("parent", "evaluation_id", "evaluation", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    evaluation_id: str
    evaluation: Evaluation
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., evaluation_id: _Optional[str] = ..., evaluation: _Optional[_Union[Evaluation, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class ProbeSpec(_message.Message):
    __slots__ = ("dataset", "model", "kinds", "count_per_kind", "style", "checker", "group_key", "distinct_key", "seed")
    class Style(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STYLE_UNSPECIFIED: _ClassVar[ProbeSpec.Style]
        CLOZE: _ClassVar[ProbeSpec.Style]
        QUESTION: _ClassVar[ProbeSpec.Style]
    STYLE_UNSPECIFIED: ProbeSpec.Style
    CLOZE: ProbeSpec.Style
    QUESTION: ProbeSpec.Style
    DATASET_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    COUNT_PER_KIND_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    CHECKER_FIELD_NUMBER: _ClassVar[int]
    GROUP_KEY_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_KEY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    model: str
    kinds: _containers.RepeatedScalarFieldContainer[str]
    count_per_kind: int
    style: ProbeSpec.Style
    checker: str
    group_key: str
    distinct_key: str
    seed: int
    def __init__(self, dataset: _Optional[str] = ..., model: _Optional[str] = ..., kinds: _Optional[_Iterable[str]] = ..., count_per_kind: _Optional[int] = ..., style: _Optional[_Union[ProbeSpec.Style, str]] = ..., checker: _Optional[str] = ..., group_key: _Optional[str] = ..., distinct_key: _Optional[str] = ..., seed: _Optional[int] = ...) -> None: ...

class GenerateProbesRequest(_message.Message):
    __slots__ = ("parent", "dataset_id", "spec", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    dataset_id: str
    spec: ProbeSpec
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., dataset_id: _Optional[str] = ..., spec: _Optional[_Union[ProbeSpec, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class GetEvaluationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListEvaluationsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEvaluationsResponse(_message.Message):
    __slots__ = ("evaluations", "next_page_token")
    EVALUATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    evaluations: _containers.RepeatedCompositeFieldContainer[Evaluation]
    next_page_token: str
    def __init__(self, evaluations: _Optional[_Iterable[_Union[Evaluation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteEvaluationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReadResultsRequest(_message.Message):
    __slots__ = ("name", "start_row")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_ROW_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_row: int
    def __init__(self, name: _Optional[str] = ..., start_row: _Optional[int] = ...) -> None: ...

class ReadResultsResponse(_message.Message):
    __slots__ = ("rows", "start_row")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    START_ROW_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedScalarFieldContainer[str]
    start_row: int
    def __init__(self, rows: _Optional[_Iterable[str]] = ..., start_row: _Optional[int] = ...) -> None: ...

class CompareEvaluationsRequest(_message.Message):
    __slots__ = ("parent", "baseline", "candidates", "seed", "probe_ids")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PROBE_IDS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    baseline: str
    candidates: _containers.RepeatedScalarFieldContainer[str]
    seed: int
    probe_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parent: _Optional[str] = ..., baseline: _Optional[str] = ..., candidates: _Optional[_Iterable[str]] = ..., seed: _Optional[int] = ..., probe_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CompareEvaluationsResponse(_message.Message):
    __slots__ = ("differences",)
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    def __init__(self, differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("candidate", "kind", "value", "ci95_low", "ci95_high", "n", "cluster_count", "metric")
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CI95_LOW_FIELD_NUMBER: _ClassVar[int]
    CI95_HIGH_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_COUNT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    candidate: str
    kind: str
    value: float
    ci95_low: float
    ci95_high: float
    n: int
    cluster_count: int
    metric: str
    def __init__(self, candidate: _Optional[str] = ..., kind: _Optional[str] = ..., value: _Optional[float] = ..., ci95_low: _Optional[float] = ..., ci95_high: _Optional[float] = ..., n: _Optional[int] = ..., cluster_count: _Optional[int] = ..., metric: _Optional[str] = ...) -> None: ...
