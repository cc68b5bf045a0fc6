"""`client.aliases` and `ingrain alias`, against the fake platform."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ingrain import Client, errors

PROBE = '{"id": "1", "kind": "fact", "prompt": "What is Zed?", "choices": ["a tool", "a fish"], "answer": "a tool"}'


@pytest.fixture
def client(platform: Any) -> Any:
    with Client(platform.target) as client:
        for name in ("old", "new"):
            client.models.import_("org/x", id=name).result(10)
        yield client


def test_plain_code_promotes_and_rolls_back(client: Client) -> None:
    first = client.aliases.promote("bot@prod", "old")
    assert first.target == "projects/default/models/old"
    second = client.aliases.promote("bot@prod", "new", etag=first.etag)
    with pytest.raises(errors.Busy):
        client.aliases.promote("bot@prod", "old", etag=first.etag)
    assert [version.target for version in second.versions] == ["projects/default/models/old"]
    assert client.generate("bot@prod", "What is Zed?").generations[0].text
    assert client.aliases.roll_back("bot@prod").target == first.target
    assert [alias.name for alias in client.aliases.list()] == ["projects/default/aliases/bot@prod"]
    client.aliases.delete("bot@prod")
    with pytest.raises(errors.NotFound):
        client.aliases.get("bot@prod")


def test_the_command_line_does_too(ingrain: Callable[..., Any], client: Client, tmp_path: Any) -> None:
    (tmp_path / "probes.jsonl").write_text(PROBE + "\n")
    client.datasets.upload(tmp_path / "probes.jsonl", id="probes", kind="probes")
    evaluation = client.evaluations.create("old", "probes", id="measured").result(10)
    value = evaluation.kinds[0].value
    gated = ("--evaluation", "measured", "--gate", "probes", "--least")
    refused = ingrain("alias", "promote", "bot@prod", "old", *gated, f"fact={value + 0.1}")
    assert refused.returncode == 1
    assert "the gate asks for at least" in refused.stderr
    made = ingrain("alias", "promote", "bot@prod", "old", *gated, f"fact={value}", "-o", "json")
    assert json.loads(made.stdout)["gate"]["least"] == {"fact": value}
    assert (
        ingrain("alias", "promote", "free", "old", "-o", "name").stdout == "projects/default/aliases/free\n"
    )
    ingrain("alias", "promote", "free", "new")
    assert "models/old" in ingrain("alias", "rollback", "free").stdout
    assert ingrain("ask", "What is Zed?", "--model", "bot@prod").returncode == 0
    assert ingrain("ask", "What is Zed?", "--model", "nobody@prod").returncode == 3
    assert f"fact >= {value:g}" in ingrain("alias", "list").stdout
    assert "measured" in ingrain("alias", "get", "bot@prod").stdout
    for wrong in (("--gate", "probes"), ("--gate", "probes", "--least", "fact")):
        assert ingrain("alias", "promote", "bot@prod", "old", *wrong).returncode == 2
    assert ingrain("alias", "delete", "free").returncode == 0
    assert ingrain("alias", "get", "free").returncode == 3
