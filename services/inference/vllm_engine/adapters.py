"""LoRA adapters from object storage, each under a number of its own: vLLM tells them apart by it.

A number is never given twice in the life of a process, so that what is cached for one adapter is never read for another.
"""

import itertools
from pathlib import Path
from typing import Any

from services.inference.wire import ModelRef


class Adapters:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = itertools.count(1)

    def request(self, model: ModelRef, folder: Path) -> Any:
        """vLLM's LoRARequest, by the adapter's bytes: another version is another adapter."""
        from vllm.lora.request import LoRARequest

        if model.key not in self._numbers:
            self._numbers[model.key] = next(self._next)
        return LoRARequest(lora_name=model.key, lora_int_id=self._numbers[model.key], lora_path=str(folder))
