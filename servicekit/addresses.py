"""Where a server that a caller names may be: anywhere but where machines hand out their own credentials."""

import ipaddress
import re

from servicekit.errors import Invalid

# Strict, so that no two parsers read it differently: no user, no query, no escapes.
_BASE_URL = re.compile(
    r"^https?://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?(?P<path>/[A-Za-z0-9._~/-]*)?$"
)
# Metadata services outside of the link-local ranges: AWS over IPv6, Alibaba Cloud, Oracle Cloud.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def base_url(text: str, field: str) -> str:
    """The URL without a slash at its end. Invalid where it is none, or names an address that is refused."""
    found = _BASE_URL.match(text)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise Invalid(
            "BAD_BASE_URL",
            f"{text!r} is no base URL: expected http(s)://host[:port][/path], without user, query and fragment",
            field=field,
        )
    host = found["host"].strip("[]")
    try:
        refuse_reserved(host, field)
    except ValueError:  # a name, or a number in another notation than the usual
        if host.replace(".", "").isdigit() or ":" in host:
            raise Invalid("BAD_BASE_URL", f"{host!r} is no IP address", field=field) from None
    return text.rstrip("/")


def host_of(url: str) -> str:
    """`host` or `host:port` of a base URL, in lower case."""
    return url.partition("://")[2].partition("/")[0].lower()


def refuse_reserved(address: str, field: str) -> None:
    """Invalid for link-local addresses and metadata services, however they are written; ValueError for no address."""
    for one in _meant(ipaddress.ip_address(address)):
        if one.is_link_local or one in _METADATA:
            raise Invalid(
                "RESERVED_ADDRESS",
                f"{address} is link-local or a metadata service; no model answers there",
                field=field,
                address=address,
            )


def _meant(address: Address) -> list[Address]:
    """The address, and the IPv4 address that it carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    plain = ipaddress.IPv6Address(int(address))  # without its zone
    carried = [address, plain, plain.ipv4_mapped, plain.sixtofour]
    if plain in _NAT64:
        carried.append(ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF))
    return [one for one in carried if one is not None]
