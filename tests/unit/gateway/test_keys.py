"""Secrets of API keys: made, read back, and refused whatever else is sent."""

import contextlib
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.errors import Unauthenticated
from services.gateway.auth import Authenticator, is_same, new_secret, parse_secret

NAME = "projects/team-a/keys/key-0123456789ab"


def test_a_secret_tells_its_key_and_is_kept_as_a_digest_only() -> None:
    secret, digest = new_secret(NAME)
    parsed = parse_secret(secret)
    assert (parsed.key_name, parsed.digest) == (NAME, digest)
    assert digest == hashlib.sha256(secret.encode()).hexdigest()
    assert len(bytes.fromhex(secret.rpartition(".")[2])) == 32


def test_no_two_secrets_are_alike() -> None:
    assert len({new_secret(NAME)[0] for _ in range(100)}) == 100


@pytest.mark.parametrize("text", ["", "ingrain_", "ingrain_a.b", "ingrain_a.b.c.d", "a.b.c", "Bearer x"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Unauthenticated):
        parse_secret(text)


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    with contextlib.suppress(Unauthenticated):
        assert parse_secret(text).digest


def test_an_empty_secret_is_nobodys() -> None:
    assert not is_same("", "")
    assert is_same("a", "a")
    assert not is_same("a", "b")


async def test_a_credential_that_is_no_text_is_refused() -> None:
    """A server of HTTP hands bytes on that are no UTF-8."""
    nowhere: Any = None
    door = Authenticator(nowhere, nowhere, nowhere, service_token="s", operator_token="o", open_door=False)
    with pytest.raises(Unauthenticated):
        await door.caller({"authorization": "Bearer \udcff"})
