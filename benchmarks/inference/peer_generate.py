"""A worker: transformers' `generate`, a question at a time or several as a padded batch. `... FOLDER`"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.inference.contender import work


class Generate:
    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def generate(
        self, prompts: list[str], max_tokens: int, batch: int = 1, documents: str = ""
    ) -> dict[str, Any]:
        """Each prompt with the documents before it, read anew each time."""
        texts = []
        for start in range(0, len(prompts), batch):
            whole = [
                f"{documents}\n\n{prompt}" if documents else prompt
                for prompt in prompts[start : start + batch]
            ]
            read = self._tokenizer(whole, return_tensors="pt", padding=True)
            with torch.inference_mode():
                written = self._model.generate(
                    **read,
                    max_new_tokens=max_tokens,
                    do_sample=False,
                    pad_token_id=self._tokenizer.pad_token_id,
                )
            new = written[:, read["input_ids"].shape[1] :]
            texts += self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return {"texts": texts}


if __name__ == "__main__":
    peer = Generate(Path(sys.argv[1]))
    work({"generate": peer.generate})
