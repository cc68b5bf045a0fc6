"""Where a server that a caller names may be."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.addresses import base_url, host_of, refuse_reserved
from servicekit.errors import Invalid


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://api.host.test/v1/", "https://api.host.test/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_base_urls_lose_the_slash_at_their_end(text: str, kept: str) -> None:
    assert base_url(text, "endpoint.base_url") == kept


@pytest.mark.parametrize(
    "text",
    [
        "", "ftp://host/v1", "https://", "https://user:word@host/v1", "https://host/v1?key=1", "https://host/v1#a",
        "http://host:0/", "http://host:70000/", "http://2852039166/v1", "http://[::zz]/v1", "http://ho st/", "http://1.2.3/",
        "http://host\\@other/", "http://host/%2e%2e/",
    ],
)  # fmt: skip
def test_what_is_no_base_url_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        base_url(text, "endpoint.base_url")
    assert (refused.value.reason, refused.value.field) == ("BAD_BASE_URL", "endpoint.base_url")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]", "100.100.100.200", "[fd00:ec2::254]", "[::ffff:100.100.100.200]",
    ],
)  # fmt: skip
def test_where_machines_keep_credentials_no_model_answers(host: str) -> None:
    with pytest.raises(Invalid) as refused:
        base_url(f"http://{host}/v1", "endpoint.base_url")
    assert refused.value.reason == "RESERVED_ADDRESS"


@given(st.ip_addresses(v=4, network="169.254.0.0/16"))
def test_no_link_local_address_passes_in_either_notation(address: ipaddress.IPv4Address) -> None:
    for written in (str(address), f"::ffff:{address}"):
        with pytest.raises(Invalid):
            refuse_reserved(written, "")


@given(st.ip_addresses(v=6, network="fe80::/10"))
def test_nor_one_of_ipv6_with_or_without_a_zone(address: ipaddress.IPv6Address) -> None:
    for written in (str(address), f"{address}%eth0"):
        with pytest.raises(Invalid):
            refuse_reserved(written, "")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "192.168.1.1", "8.8.8.8", "::1", "fd12::1"])
def test_private_networks_are_where_models_are_served(address: str) -> None:
    refuse_reserved(address, "")


def test_a_host_keeps_its_port() -> None:
    assert host_of("https://API.host.test:8443/v1") == "api.host.test:8443"
    assert host_of("https://api.host.test") == "api.host.test"
