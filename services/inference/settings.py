"""What inference needs beyond `ServiceSettings`."""

from typing import Literal

from servicekit.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """Read from `INGRAIN_<NAME>`."""

    inference_backend: Literal["serve", "inprocess"] = "serve"
    cache_bytes: int = 512 << 20  # keys and values of contexts, per replica
    model_bytes: int = 4 << 30  # weights in memory, per replica
    replicas: int = 1
    replica_cpus: float = 0.5
    replica_gpus: float = 0.0
    ray_wait_s: float = 120.0  # how long to wait for Ray and its resources at the start
    max_queued: int = 256  # requests waiting at the engine before more are refused
    model_names_s: float = 5.0  # how long the door remembers what a model's name means
