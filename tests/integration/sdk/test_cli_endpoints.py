"""`ingrain model import-endpoint`."""

import json
from collections.abc import Callable
from typing import Any


def test_a_model_of_another_server_is_imported_by_its_address(ingrain: Callable[..., Any]) -> None:
    made = ingrain(
        "model", "import-endpoint", "https://host.test/v1", "large", "--id", "elsewhere",
        "--key-ref", "env:LAB_KEY", "--window", "32000", "-o", "json",
    )  # fmt: skip
    assert json.loads(made.stdout)["endpoint"] == {
        "base_url": "https://host.test/v1",
        "model_id": "large",
        "api_key_ref": "env:LAB_KEY",
        "context_window": 32000,
    }
