import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
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

class Model(_message.Message):
    __slots__ = ("name", "display_name", "state", "base_model", "source", "training", "adapter", "architecture", "parameter_count", "context_window", "chat_template", "domain", "uri", "sha256", "summary", "create_time", "size_bytes", "layer_count", "hidden_size", "endpoint", "paused")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    CHAT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAYER_COUNT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    state: _common_pb2.State
    base_model: str
    source: str
    training: TrainingSpec
    adapter: bool
    architecture: str
    parameter_count: int
    context_window: int
    chat_template: bool
    domain: str
    uri: str
    sha256: str
    summary: TrainingSummary
    create_time: _timestamp_pb2.Timestamp
    size_bytes: int
    layer_count: int
    hidden_size: int
    endpoint: Endpoint
    paused: bool
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., state: _Optional[_Union[_common_pb2.State, str]] = ..., base_model: _Optional[str] = ..., source: _Optional[str] = ..., training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., adapter: bool = ..., architecture: _Optional[str] = ..., parameter_count: _Optional[int] = ..., context_window: _Optional[int] = ..., chat_template: bool = ..., domain: _Optional[str] = ..., uri: _Optional[str] = ..., sha256: _Optional[str] = ..., summary: _Optional[_Union[TrainingSummary, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., size_bytes: _Optional[int] = ..., layer_count: _Optional[int] = ..., hidden_size: _Optional[int] = ..., endpoint: _Optional[_Union[Endpoint, _Mapping]] = ..., paused: bool = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("base_url", "model_id", "api_key_ref", "context_window")
    BASE_URL_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    API_KEY_REF_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    base_url: str
    model_id: str
    api_key_ref: str
    context_window: int
    def __init__(self, base_url: _Optional[str] = ..., model_id: _Optional[str] = ..., api_key_ref: _Optional[str] = ..., context_window: _Optional[int] = ...) -> None: ...

class TrainingSpec(_message.Message):
    __slots__ = ("base_model", "datasets", "method", "splitting", "max_steps", "num_train_epochs", "learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "seed", "bf16", "train_on_prompt", "r", "lora_alpha", "lora_dropout", "target_modules", "num_workers", "zero_stage", "save_steps", "max_tokens", "use_dora", "use_rslora", "load_in_4bit", "merge_adapter", "distillation", "replay", "long_rows", "max_lost_row_ratio", "gradient_checkpointing", "offload_optimizer", "offload_param", "deepspeed", "torch_compile", "use_liger_kernel", "attn_implementation", "adam_beta1", "adam_beta2", "adam_epsilon", "evaluation", "learning_rate_search", "max_duration")
    class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        METHOD_UNSPECIFIED: _ClassVar[TrainingSpec.Method]
        FULL: _ClassVar[TrainingSpec.Method]
        LORA: _ClassVar[TrainingSpec.Method]
    METHOD_UNSPECIFIED: TrainingSpec.Method
    FULL: TrainingSpec.Method
    LORA: TrainingSpec.Method
    class Splitting(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SPLITTING_UNSPECIFIED: _ClassVar[TrainingSpec.Splitting]
        DOCUMENT: _ClassVar[TrainingSpec.Splitting]
        SENTENCE: _ClassVar[TrainingSpec.Splitting]
        CUMULATIVE: _ClassVar[TrainingSpec.Splitting]
    SPLITTING_UNSPECIFIED: TrainingSpec.Splitting
    DOCUMENT: TrainingSpec.Splitting
    SENTENCE: TrainingSpec.Splitting
    CUMULATIVE: TrainingSpec.Splitting
    class LongRows(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LONG_ROWS_UNSPECIFIED: _ClassVar[TrainingSpec.LongRows]
        REFUSE: _ClassVar[TrainingSpec.LongRows]
        TRUNCATE: _ClassVar[TrainingSpec.LongRows]
        DROP: _ClassVar[TrainingSpec.LongRows]
    LONG_ROWS_UNSPECIFIED: TrainingSpec.LongRows
    REFUSE: TrainingSpec.LongRows
    TRUNCATE: TrainingSpec.LongRows
    DROP: TrainingSpec.LongRows
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SPLITTING_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    NUM_TRAIN_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    LR_SCHEDULER_TYPE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_RATIO_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    MAX_GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    PER_DEVICE_TRAIN_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_ACCUMULATION_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BF16_FIELD_NUMBER: _ClassVar[int]
    TRAIN_ON_PROMPT_FIELD_NUMBER: _ClassVar[int]
    R_FIELD_NUMBER: _ClassVar[int]
    LORA_ALPHA_FIELD_NUMBER: _ClassVar[int]
    LORA_DROPOUT_FIELD_NUMBER: _ClassVar[int]
    TARGET_MODULES_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    ZERO_STAGE_FIELD_NUMBER: _ClassVar[int]
    SAVE_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    USE_DORA_FIELD_NUMBER: _ClassVar[int]
    USE_RSLORA_FIELD_NUMBER: _ClassVar[int]
    LOAD_IN_4BIT_FIELD_NUMBER: _ClassVar[int]
    MERGE_ADAPTER_FIELD_NUMBER: _ClassVar[int]
    DISTILLATION_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    LONG_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_LOST_ROW_RATIO_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    OFFLOAD_OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    OFFLOAD_PARAM_FIELD_NUMBER: _ClassVar[int]
    DEEPSPEED_FIELD_NUMBER: _ClassVar[int]
    TORCH_COMPILE_FIELD_NUMBER: _ClassVar[int]
    USE_LIGER_KERNEL_FIELD_NUMBER: _ClassVar[int]
    ATTN_IMPLEMENTATION_FIELD_NUMBER: _ClassVar[int]
    ADAM_BETA1_FIELD_NUMBER: _ClassVar[int]
    ADAM_BETA2_FIELD_NUMBER: _ClassVar[int]
    ADAM_EPSILON_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_SEARCH_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_FIELD_NUMBER: _ClassVar[int]
    base_model: str
    datasets: _containers.RepeatedCompositeFieldContainer[WeightedDataset]
    method: TrainingSpec.Method
    splitting: TrainingSpec.Splitting
    max_steps: int
    num_train_epochs: float
    learning_rate: float
    lr_scheduler_type: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    max_length: int
    seed: int
    bf16: bool
    train_on_prompt: bool
    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: _containers.RepeatedScalarFieldContainer[str]
    num_workers: int
    zero_stage: int
    save_steps: int
    max_tokens: int
    use_dora: bool
    use_rslora: bool
    load_in_4bit: bool
    merge_adapter: bool
    distillation: ContextDistillation
    replay: Replay
    long_rows: TrainingSpec.LongRows
    max_lost_row_ratio: float
    gradient_checkpointing: bool
    offload_optimizer: str
    offload_param: str
    deepspeed: str
    torch_compile: bool
    use_liger_kernel: bool
    attn_implementation: str
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    evaluation: TrainingEvaluation
    learning_rate_search: LearningRateSearch
    max_duration: _duration_pb2.Duration
    def __init__(self, base_model: _Optional[str] = ..., datasets: _Optional[_Iterable[_Union[WeightedDataset, _Mapping]]] = ..., method: _Optional[_Union[TrainingSpec.Method, str]] = ..., splitting: _Optional[_Union[TrainingSpec.Splitting, str]] = ..., max_steps: _Optional[int] = ..., num_train_epochs: _Optional[float] = ..., learning_rate: _Optional[float] = ..., lr_scheduler_type: _Optional[str] = ..., warmup_ratio: _Optional[float] = ..., weight_decay: _Optional[float] = ..., max_grad_norm: _Optional[float] = ..., per_device_train_batch_size: _Optional[int] = ..., gradient_accumulation_steps: _Optional[int] = ..., max_length: _Optional[int] = ..., seed: _Optional[int] = ..., bf16: bool = ..., train_on_prompt: bool = ..., r: _Optional[int] = ..., lora_alpha: _Optional[float] = ..., lora_dropout: _Optional[float] = ..., target_modules: _Optional[_Iterable[str]] = ..., num_workers: _Optional[int] = ..., zero_stage: _Optional[int] = ..., save_steps: _Optional[int] = ..., max_tokens: _Optional[int] = ..., use_dora: bool = ..., use_rslora: bool = ..., load_in_4bit: bool = ..., merge_adapter: bool = ..., distillation: _Optional[_Union[ContextDistillation, _Mapping]] = ..., replay: _Optional[_Union[Replay, _Mapping]] = ..., long_rows: _Optional[_Union[TrainingSpec.LongRows, str]] = ..., max_lost_row_ratio: _Optional[float] = ..., gradient_checkpointing: bool = ..., offload_optimizer: _Optional[str] = ..., offload_param: _Optional[str] = ..., deepspeed: _Optional[str] = ..., torch_compile: bool = ..., use_liger_kernel: bool = ..., attn_implementation: _Optional[str] = ..., adam_beta1: _Optional[float] = ..., adam_beta2: _Optional[float] = ..., adam_epsilon: _Optional[float] = ..., evaluation: _Optional[_Union[TrainingEvaluation, _Mapping]] = ..., learning_rate_search: _Optional[_Union[LearningRateSearch, _Mapping]] = ..., max_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ContextDistillation(_message.Message):
    __slots__ = ("dataset", "temperature", "top_k")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    temperature: float
    top_k: int
    def __init__(self, dataset: _Optional[str] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ...) -> None: ...

class Replay(_message.Message):
    __slots__ = ("dataset", "ratio")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    ratio: float
    def __init__(self, dataset: _Optional[str] = ..., ratio: _Optional[float] = ...) -> None: ...

class TrainingEvaluation(_message.Message):
    __slots__ = ("datasets", "eval_ratio", "probes", "eval_steps", "load_best_model_at_end", "metric_for_best_model", "early_stopping_patience", "early_stopping_threshold")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    EVAL_RATIO_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    EVAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    LOAD_BEST_MODEL_AT_END_FIELD_NUMBER: _ClassVar[int]
    METRIC_FOR_BEST_MODEL_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_PATIENCE_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedScalarFieldContainer[str]
    eval_ratio: float
    probes: str
    eval_steps: int
    load_best_model_at_end: bool
    metric_for_best_model: str
    early_stopping_patience: int
    early_stopping_threshold: float
    def __init__(self, datasets: _Optional[_Iterable[str]] = ..., eval_ratio: _Optional[float] = ..., probes: _Optional[str] = ..., eval_steps: _Optional[int] = ..., load_best_model_at_end: bool = ..., metric_for_best_model: _Optional[str] = ..., early_stopping_patience: _Optional[int] = ..., early_stopping_threshold: _Optional[float] = ...) -> None: ...

class LearningRateSearch(_message.Message):
    __slots__ = ("learning_rates", "max_steps")
    LEARNING_RATES_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    learning_rates: _containers.RepeatedScalarFieldContainer[float]
    max_steps: int
    def __init__(self, learning_rates: _Optional[_Iterable[float]] = ..., max_steps: _Optional[int] = ...) -> None: ...

class WeightedDataset(_message.Message):
    __slots__ = ("dataset", "weight")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    weight: float
    def __init__(self, dataset: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class TrainingSummary(_message.Message):
    __slots__ = ("step_count", "row_count", "packed_row_count", "padding_ratio", "first_loss", "last_loss", "cost", "environment", "truncated_row_count", "dropped_row_count", "masked_row_count", "worker_memory_bytes", "model_flops_utilization", "best_step", "measurements", "verification", "learning_rate")
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    PACKED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    PADDING_RATIO_FIELD_NUMBER: _ClassVar[int]
    FIRST_LOSS_FIELD_NUMBER: _ClassVar[int]
    LAST_LOSS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    MASKED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    WORKER_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FLOPS_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    BEST_STEP_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENTS_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    step_count: int
    row_count: int
    packed_row_count: int
    padding_ratio: float
    first_loss: float
    last_loss: float
    cost: _common_pb2.Cost
    environment: _common_pb2.Environment
    truncated_row_count: int
    dropped_row_count: int
    masked_row_count: int
    worker_memory_bytes: int
    model_flops_utilization: float
    best_step: int
    measurements: _containers.RepeatedCompositeFieldContainer[TrainingMeasurement]
    verification: Verification
    learning_rate: float
    def __init__(self, step_count: _Optional[int] = ..., row_count: _Optional[int] = ..., packed_row_count: _Optional[int] = ..., padding_ratio: _Optional[float] = ..., first_loss: _Optional[float] = ..., last_loss: _Optional[float] = ..., cost: _Optional[_Union[_common_pb2.Cost, _Mapping]] = ..., environment: _Optional[_Union[_common_pb2.Environment, _Mapping]] = ..., truncated_row_count: _Optional[int] = ..., dropped_row_count: _Optional[int] = ..., masked_row_count: _Optional[int] = ..., worker_memory_bytes: _Optional[int] = ..., model_flops_utilization: _Optional[float] = ..., best_step: _Optional[int] = ..., measurements: _Optional[_Iterable[_Union[TrainingMeasurement, _Mapping]]] = ..., verification: _Optional[_Union[Verification, _Mapping]] = ..., learning_rate: _Optional[float] = ...) -> None: ...

class TrainingMeasurement(_message.Message):
    __slots__ = ("step", "eval_loss", "acc")
    STEP_FIELD_NUMBER: _ClassVar[int]
    EVAL_LOSS_FIELD_NUMBER: _ClassVar[int]
    ACC_FIELD_NUMBER: _ClassVar[int]
    step: int
    eval_loss: float
    acc: float
    def __init__(self, step: _Optional[int] = ..., eval_loss: _Optional[float] = ..., acc: _Optional[float] = ...) -> None: ...

class Verification(_message.Message):
    __slots__ = ("token_count", "max_difference", "tolerance", "max_merged_difference")
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    MAX_MERGED_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    token_count: int
    max_difference: float
    tolerance: float
    max_merged_difference: float
    def __init__(self, token_count: _Optional[int] = ..., max_difference: _Optional[float] = ..., tolerance: _Optional[float] = ..., max_merged_difference: _Optional[float] = ...) -> None: ...

class TrainingSnapshot(_message.Message):
    __slots__ = ("step", "step_count", "loss", "learning_rate", "grad_norm", "trained_token_count", "tokens_per_second", "snapshot_time", "model_flops_utilization", "remaining_duration", "measurement")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    TRAINED_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_TIME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FLOPS_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    REMAINING_DURATION_FIELD_NUMBER: _ClassVar[int]
    MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    step: int
    step_count: int
    loss: float
    learning_rate: float
    grad_norm: float
    trained_token_count: int
    tokens_per_second: float
    snapshot_time: _timestamp_pb2.Timestamp
    model_flops_utilization: float
    remaining_duration: _duration_pb2.Duration
    measurement: TrainingMeasurement
    def __init__(self, step: _Optional[int] = ..., step_count: _Optional[int] = ..., loss: _Optional[float] = ..., learning_rate: _Optional[float] = ..., grad_norm: _Optional[float] = ..., trained_token_count: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., snapshot_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., model_flops_utilization: _Optional[float] = ..., remaining_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., measurement: _Optional[_Union[TrainingMeasurement, _Mapping]] = ...) -> None: ...

class ImportModelRequest(_message.Message):
    __slots__ = ("parent", "model_id", "source_uri", "display_name", "request_id", "validate_only", "endpoint", "in_place")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_URI_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    IN_PLACE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    model_id: str
    source_uri: str
    display_name: str
    request_id: str
    validate_only: bool
    endpoint: Endpoint
    in_place: bool
    def __init__(self, parent: _Optional[str] = ..., model_id: _Optional[str] = ..., source_uri: _Optional[str] = ..., display_name: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., endpoint: _Optional[_Union[Endpoint, _Mapping]] = ..., in_place: bool = ...) -> None: ...

class UploadModelRequest(_message.Message):
    __slots__ = ("header", "file_name", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadModelHeader
    file_name: str
    chunk: bytes
    def __init__(self, header: _Optional[_Union[UploadModelHeader, _Mapping]] = ..., file_name: _Optional[str] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadModelHeader(_message.Message):
    __slots__ = ("parent", "model_id", "display_name", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    model_id: str
    display_name: str
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., model_id: _Optional[str] = ..., display_name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartModelUploadRequest(_message.Message):
    __slots__ = ("parent", "files")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    parent: str
    files: _containers.RepeatedCompositeFieldContainer[UploadFile]
    def __init__(self, parent: _Optional[str] = ..., files: _Optional[_Iterable[_Union[UploadFile, _Mapping]]] = ...) -> None: ...

class UploadFile(_message.Message):
    __slots__ = ("name", "size_bytes", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    sha256: str
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class ModelUpload(_message.Message):
    __slots__ = ("upload_id", "part_size_bytes", "parts")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    PART_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    part_size_bytes: int
    parts: _containers.RepeatedCompositeFieldContainer[UploadedPart]
    def __init__(self, upload_id: _Optional[str] = ..., part_size_bytes: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[UploadedPart, _Mapping]]] = ...) -> None: ...

class UploadedPart(_message.Message):
    __slots__ = ("file_name", "part_number")
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    PART_NUMBER_FIELD_NUMBER: _ClassVar[int]
    file_name: str
    part_number: int
    def __init__(self, file_name: _Optional[str] = ..., part_number: _Optional[int] = ...) -> None: ...

class UploadModelPartRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadModelPartHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[UploadModelPartHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadModelPartHeader(_message.Message):
    __slots__ = ("parent", "upload_id", "file_name", "part_number", "sha256")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    PART_NUMBER_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    parent: str
    upload_id: str
    file_name: str
    part_number: int
    sha256: str
    def __init__(self, parent: _Optional[str] = ..., upload_id: _Optional[str] = ..., file_name: _Optional[str] = ..., part_number: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class UploadModelPartResponse(_message.Message):
    __slots__ = ("size_bytes",)
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    def __init__(self, size_bytes: _Optional[int] = ...) -> None: ...

class FinishModelUploadRequest(_message.Message):
    __slots__ = ("parent", "upload_id", "model_id", "display_name", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    upload_id: str
    model_id: str
    display_name: str
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., upload_id: _Optional[str] = ..., model_id: _Optional[str] = ..., display_name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseTrainingRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumeTrainingRequest(_message.Message):
    __slots__ = ("name", "max_duration", "num_workers")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    max_duration: _duration_pb2.Duration
    num_workers: int
    def __init__(self, name: _Optional[str] = ..., max_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., num_workers: _Optional[int] = ...) -> None: ...

class DownloadModelRequest(_message.Message):
    __slots__ = ("name", "start_file", "start_byte")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_FILE_FIELD_NUMBER: _ClassVar[int]
    START_BYTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_file: str
    start_byte: int
    def __init__(self, name: _Optional[str] = ..., start_file: _Optional[str] = ..., start_byte: _Optional[int] = ...) -> None: ...

class DownloadModelResponse(_message.Message):
    __slots__ = ("file", "chunk")
    FILE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    file: UploadFile
    chunk: bytes
    def __init__(self, file: _Optional[_Union[UploadFile, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ReadTrainingLogRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReadTrainingLogResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lines: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateModelRequest(_message.Message):
    __slots__ = ("parent", "model_id", "training", "display_name", "request_id", "validate_only", "resume_from")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    RESUME_FROM_FIELD_NUMBER: _ClassVar[int]
    parent: str
    model_id: str
    training: TrainingSpec
    display_name: str
    request_id: str
    validate_only: bool
    resume_from: str
    def __init__(self, parent: _Optional[str] = ..., model_id: _Optional[str] = ..., training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., display_name: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., resume_from: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchTrainingRequest(_message.Message):
    __slots__ = ("name", "start_step")
    NAME_FIELD_NUMBER: _ClassVar[int]
    START_STEP_FIELD_NUMBER: _ClassVar[int]
    name: str
    start_step: int
    def __init__(self, name: _Optional[str] = ..., start_step: _Optional[int] = ...) -> None: ...
