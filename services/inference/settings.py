"""What inference needs beyond `ServiceSettings`."""

from typing import Literal

from servicekit.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`."""

    inference_backend: Literal["serve", "proxy", "inprocess"] = "serve"
    serve_proxy: str = "127.0.0.1:9000"  # Serve's own gRPC proxy, for `proxy`: the door then needs no Ray
    serve_http_port: int = 8000  # beside it, on loopback only; Serve wants one
    engine: Literal["transformers", "vllm"] = "transformers"  # vllm: on GPU nodes
    vllm_model: str = ""  # where the base model's files lie in storage (the `uri` of the trainer's model)
    vllm_lora_rank: int = 64  # the greatest of adapters
    vllm_lora_count: int = 16  # adapters in one batch
    vllm_tensor_parallel: int = 1  # GPUs of a replica
    cache_bytes: int = (
        1 << 30
    )  # keys and values of contexts in memory, per replica; one that takes more is refused
    spill_bytes: int = 8 << 30  # and on disk, of all replicas of a machine; 0: none
    running_bytes: int = 1 << 30  # keys and values of sequences at work, per replica
    running_count: int = 64  # sequences at work, per model
    pass_tokens: int = 1024  # new tokens of one forward pass
    model_bytes: int = 4 << 30  # weights in memory, per replica
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU where there is one
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 on a GPU, else float32
    replicas: int = 1  # at least
    replicas_most: int = 0  # as many come when they are needed; 0: never more than `replicas`
    replica_load: int = 16  # requests at once that one replica is thought to do
    replica_drain_s: float = 120.0  # how long a replica that is to stop may finish what it has begun
    replica_cpus: float = 0.5
    replica_gpus: float = 0.0
    ray_wait_s: float = 120.0  # how long replicas may take to run before the door says what they lack
    ray_watch_s: float = 5.0  # between two looks at whether the application still runs
    max_queued: int = 256  # requests waiting at the engine before more are refused
    model_names_s: float = 5.0  # how long the door remembers what a model's name means
    index_bytes: int = 256 << 20  # documents that are searched, and their indices, in the door's memory
    # Keys of models behind endpoints: which variable may be sent to which host, `NAME=host` or `NAME=host:port`, by commas.
    endpoint_keys: str = ""
    endpoint_concurrency: int = 8  # calls at once to one server
    endpoint_wait_s: float = 120.0  # for one answer, waits between tries included
    endpoint_tries: int = 6
    endpoint_backoff_s: float = 0.5  # the first wait; doubled from try to try
