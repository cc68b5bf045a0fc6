"""Which authorities a client trusts, and what to do where a handshake fails."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import grpc

CA_VARIABLE = "INGRAIN_TLS_CA"
_GIVE_CA = f"tls=<file>, --ca or {CA_VARIABLE}"
# gRPC's words for a failed handshake, and ours.
_FAILED = [
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED: (?P<why>[^:;]+)"),
        "the certificate of {target} is not to be trusted ({why}); give the file of the authority that signed it by "
        + _GIVE_CA,
    ),
    (
        re.compile(r"does not match SSL server name|Hostname Verification Check failed"),
        "the certificate of {target} is for another name; connect to a name or address that stands in it, or have "
        "this one added",
    ),
    (
        re.compile(r"WRONG_VERSION_NUMBER"),
        "{target} does not speak TLS; connect without " + _GIVE_CA + ", or --tls",
    ),
    # An authority of the same name with another key ends up here, by a word that depends on the kind of key.
    (
        re.compile(r"Tls handshake failed.*OPENSSL_internal:(?P<why>\w+)"),
        "the TLS handshake with {target} failed ({why}); check that the file of "
        + _GIVE_CA
        + " is of the authority "
        "that signed its certificate",
    ),
    (
        re.compile(r"Failed to create security handshaker"),
        "the files given for TLS to {target} hold no certificate or key that can be read; they must be PEM",
    ),
    # A connection that a server takes and ends before a word: plain HTTP/2 to a server with TLS. Once a connection
    # has stood, gRPC says "Socket closed" alone.
    (
        re.compile(r"failed to connect to all addresses.*Socket closed"),
        "{target} ends connections without TLS; where it has a certificate, use tls=True or --tls, or give the file "
        "of its authority by " + _GIVE_CA,
    ),
]


@dataclass(frozen=True)
class TLS:
    """Files in PEM. `ca` defaults to the system's roots; `certificate` and `key` are for mutual TLS."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def wished(tls: "TLS | bool | str | Path | None") -> TLS | None:
    """What an argument means: None asks the environment, False is none, True the system's roots, a path an
    authority's file."""
    if tls is None:
        tls = os.environ.get(CA_VARIABLE, "")
    if isinstance(tls, TLS):
        return tls
    if not tls:
        return None
    return TLS() if tls is True else TLS(ca=Path(tls))


def credentials(tls: TLS) -> grpc.ChannelCredentials:
    """OSError where a file cannot be read."""
    pem = [path and path.read_bytes() for path in (tls.ca, tls.key, tls.certificate)]
    return grpc.ssl_channel_credentials(*pem)


def explain(details: str, target: str) -> str:
    """What a call's error says of its handshake, for people; empty where it is about something else."""
    for pattern, message in _FAILED:
        if found := pattern.search(details):
            return message.format(target=target, **found.groupdict())
    return ""
