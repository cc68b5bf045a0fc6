"""`ingrain key`: made with an end and a scope, listed with what became of them, revoked."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from ingrain import Client


def test_keys_end_by_themselves_and_may_do_what_they_are_for(ingrain: Any) -> None:
    made = ingrain("key", "create", "--title", "nightly", "--expires", "30d", "--scope", "write")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("ingrain_default.key-")
    ends = datetime.now(UTC) + timedelta(days=30)
    assert f"until {ends:%Y-%m-%d}" in made.stderr
    assert ingrain("key", "create", "--scope", "read", "--scope", "ask", "-o", "name").returncode == 0
    (both, nightly) = json.loads(ingrain("key", "list", "-o", "json").stdout)
    assert (nightly["scopes"], both["scopes"]) == (["WRITE"], ["READ", "ASK"])
    assert nightly["expire_time"].startswith(f"{ends:%Y-%m-%d}")
    assert "secret" not in json.dumps([both, nightly])
    wrong = ingrain("key", "create", "--scope", "everything")
    assert (wrong.returncode, "one of read, ask, write, keys" in wrong.stderr) == (1, True)
    assert ingrain("key", "create", "--expires", "soon").returncode == 2


def test_the_list_says_what_became_of_them(ingrain: Any, client: Client) -> None:
    client.keys.create("good")
    client.keys.create("ended", expire_time=timedelta(seconds=-1))
    revoked = client.keys.create("revoked")
    assert ingrain("key", "revoke", revoked.key.name).returncode == 0
    listed = ingrain("key", "list").stdout
    told = {line.split()[1]: line.split()[3] for line in listed.splitlines()[1:]}
    assert told == {"good": "valid", "ended": "expired", "revoked": "revoked"}
    assert max(map(len, listed.splitlines())) <= 80
