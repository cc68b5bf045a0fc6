import pytest
from pydantic import ValidationError

from servicekit.settings import ServiceSettings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGRAIN_PORT", "7071")
    monkeypatch.setenv("INGRAIN_GATEWAY_TOKEN", "canary")
    settings = ServiceSettings()
    assert settings.port == 7071
    assert "canary" not in repr(settings)
    assert settings.gateway_token.get_secret_value() == "canary"


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        ServiceSettings().port = 1


def test_a_port_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGRAIN_PORT", "many")
    with pytest.raises(ValidationError, match="port"):
        ServiceSettings()
