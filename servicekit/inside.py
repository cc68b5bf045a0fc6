"""TLS between the gateway and the services, by setting: each shows a certificate of the same authority.

The files are read again when they were written anew, so that short-lived certificates are renewed without a restart.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from servicekit.errors import Invalid
from servicekit.settings import ServiceSettings

Pem = tuple[bytes, bytes, bytes | None]  # key, certificate with its chain, authority


@dataclass(frozen=True)
class Files:
    """In PEM. `authority`: None where a peer need not show who it is."""

    key: Path
    certificate: Path
    authority: Path | None = None

    def read(self) -> Pem:
        return (
            self.key.read_bytes(),
            self.certificate.read_bytes(),
            self.authority.read_bytes() if self.authority else None,
        )


def files_of(settings: ServiceSettings) -> Files | None:
    """None where the setting is not made; two of three are a mistake."""
    given = settings.inside_key, settings.inside_certificate, settings.inside_ca
    if not any(given):
        return None
    key, certificate, authority = given
    if not key or not certificate or not authority:
        raise Invalid(
            "HALF_TLS",
            "INGRAIN_INSIDE_CA, INGRAIN_INSIDE_CERTIFICATE and INGRAIN_INSIDE_KEY belong together; set all or none",
            field="inside_ca",
        )
    return Files(key, certificate, authority)


def server_credentials(files: Files) -> grpc.ServerCredentials:
    """Peers must show a certificate of `authority`, where there is one."""
    read = Renewed(files)
    wanted = files.authority is not None
    return grpc.dynamic_ssl_server_credentials(
        _configuration(read.first), lambda: _renewed(read), require_client_authentication=wanted
    )


def channel_credentials(pem: Pem) -> grpc.ChannelCredentials:
    key, certificate, authority = pem
    return grpc.ssl_channel_credentials(authority, key, certificate)


class Renewed:
    """`again()` is what the files hold, where that is new since it was last asked; half-written files are left for the
    next time. OSError where they cannot be read at first."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._stamp = _stamp(files)
        self.first = files.read()

    def again(self) -> Pem | None:
        try:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                return None
            # Refuses a key that is not the certificate's, as between two renames of a renewal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._files.certificate, self._files.key)
            pem = self._files.read()
        except OSError:  # ssl.SSLError is one
            return None
        self._stamp = stamp
        return pem


def _stamp(files: Files) -> Sequence[Any]:
    paths = [files.key, files.certificate, *([files.authority] if files.authority else [])]
    stats = [path.stat() for path in paths]
    return [(stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]


def _configuration(pem: Pem) -> Any:
    key, certificate, authority = pem
    return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)


def _renewed(read: Renewed) -> Any:
    pem = read.again()
    return _configuration(pem) if pem else None
