"""The gateway's settings."""

from pathlib import Path

from servicekit.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    backend_augmenter: str = "127.0.0.1:7071"
    backend_trainer: str = "127.0.0.1:7072"
    backend_inference: str = "127.0.0.1:7073"
    backend_evaluator: str = "127.0.0.1:7074"
    backend_studies: str = "127.0.0.1:7075"
    require_keys: bool = False  # on loopback a caller without credentials is the operator
    allow_open: str = ""  # "yes" lets a gateway without keys listen beyond loopback
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    project_concurrency: int = 64  # calls at once of one project's users
    nested_concurrency: int = 256  # calls at once of services on behalf of one project
    queue_s: float = 5.0  # how long a call may wait for its turn

    def backends(self) -> dict[str, str]:
        return {
            "augmenter": self.backend_augmenter,
            "trainer": self.backend_trainer,
            "inference": self.backend_inference,
            "evaluator": self.backend_evaluator,
            "studies": self.backend_studies,
        }
