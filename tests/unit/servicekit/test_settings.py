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


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty path is no path: of the folder for imports it would be the folder that the process stands in."""
    for name in ("IMPORT_ROOT", "INSIDE_CA", "INSIDE_CERTIFICATE", "INSIDE_KEY", "PORT"):
        monkeypatch.setenv(f"INGRAIN_{name}", "")
    settings = ServiceSettings()
    assert (settings.import_root, settings.inside_ca, settings.port) == (None, None, 0)
