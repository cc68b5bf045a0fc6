"""Environment -> one frozen value. Services extend `ServiceSettings` in their own settings.py."""

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What every service process needs; variables are `INGRAIN_<NAME>`, and an empty one is as good as none."""

    model_config = SettingsConfigDict(
        env_prefix="INGRAIN_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    host: str = "127.0.0.1"
    port: int = 0  # 0: any free port
    gateway: str = "127.0.0.1:7070"
    # Each may be `new,old` while it is changed: the first is shown, all are taken (docs/operations.md).
    service_token: SecretStr = SecretStr("")
    gateway_token: SecretStr = SecretStr("")
    database_url: str = "sqlite:///ingrain.db"
    storage: str = "file:///var/lib/ingrain"
    s3_endpoint: str = ""
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    s3_secure: bool = True
    scratch: Path = Path("/tmp/ingrain")
    import_root: Path | None = None
    log_level: str = "info"
    lease_s: float = 30.0  # an operation's lease; heartbeats at a third of it
    worker_concurrency: int = 4  # operations at once in this process
    drain_s: float = 20.0  # grace of calls in flight at SIGTERM
    inside_ca: Path | None = (
        None  # with the next two: TLS between gateway and services, both showing certificates
    )
    inside_certificate: Path | None = None
    inside_key: Path | None = None
    health_port: int = -1  # health alone, without TLS, for probes that speak none; -1: none
    metrics_port: int = (
        -1
    )  # Prometheus' metrics over plain HTTP, at the same host; 0: any free port; -1: none
