"""A worker: lm-evaluation-harness's HFLM, in an environment of its own. `... FOLDER`"""

import sys
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from benchmarks.inference.contender import work


class Scoring:
    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._model = HFLM(
            pretrained=str(folder), dtype="float32", device="cpu", batch_size=1, max_length=65_536
        )

    def score(self, items: list[list[Any]], batch: int = 1, documents: str = "") -> dict[str, Any]:
        """Sum of the log-probabilities of each choice's tokens."""
        self._model.batch_size_per_gpu = batch
        before = f"{documents}\n\n" if documents else ""
        requests = [
            Instance("loglikelihood", {}, (before + prompt, choice), number)
            for number, (prompt, choices) in enumerate(items)
            for choice in choices
        ]
        found = iter(self._model.loglikelihood(requests, disable_tqdm=True))
        return {"sums": [[next(found)[0] for _ in choices] for _, choices in items]}


if __name__ == "__main__":
    peer = Scoring(Path(sys.argv[1]))
    work({"score": peer.score})
