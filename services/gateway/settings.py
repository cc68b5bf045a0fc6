"""The gateway's settings."""

from pathlib import Path

from pydantic import SecretStr

from servicekit.settings import ServiceSettings
from services.gateway.limits import Places
from services.gateway.tokens import Issuer


class GatewaySettings(ServiceSettings):
    backend_augmenter: str = "127.0.0.1:7071"
    backend_trainer: str = "127.0.0.1:7072"
    backend_inference: str = "127.0.0.1:7073"
    backend_evaluator: str = "127.0.0.1:7074"
    backend_studies: str = "127.0.0.1:7075"
    http_port: int = (
        -1
    )  # OpenAI's HTTP beside gRPC, at the same host; 0: any free port, as of `port`; -1: none
    http_timeout_s: float = 3600.0  # longest HTTP call; callers over gRPC say their own
    operator_token: SecretStr = SecretStr(
        ""
    )  # who shows it may do all; makes the first keys where keys are required
    require_keys: bool = False  # on loopback a caller without credentials is the operator
    allow_open: str = ""  # "yes" lets a gateway without keys listen beyond loopback
    oidc: tuple[Issuer, ...] = ()  # identity providers whose tokens are taken beside keys, as JSON
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    project_concurrency: int = 64  # calls at once of one project's users
    nested_concurrency: int = 256  # calls at once of services on behalf of one project
    waiting_concurrency: int = 1024  # WaitOperation and Watch... at once, of one project
    queue_length: int = 256  # calls that may wait for their turn
    queue_s: float = 5.0  # and how long

    def backends(self) -> dict[str, str]:
        return {
            "augmenter": self.backend_augmenter,
            "trainer": self.backend_trainer,
            "inference": self.backend_inference,
            "evaluator": self.backend_evaluator,
            "studies": self.backend_studies,
        }

    def places(self) -> Places:
        return Places(
            users=self.project_concurrency,
            nested=self.nested_concurrency,
            waiting=self.waiting_concurrency,
            queue=self.queue_length,
            queue_s=self.queue_s,
        )
