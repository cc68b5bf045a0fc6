"""A worker: TRL's SFTTrainer, in an environment of its own. `... TASK`

Its training runs in a thread that waits before each step until a turn allows it.
"""

import json
import sys
import tempfile
import threading
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.training.contender import work
from benchmarks.training.material import LONGEST, Task, model_of, texts

# What differs from SFTConfig's defaults, but for what both sides agree on.
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "grouped": {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"},
    "packed": {"gradient_checkpointing": False, "packing": True, "max_length": LONGEST},
    "same texts": {"gradient_checkpointing": False, "train_sampling_strategy": "sequential"},
}


class Turns(TrainerCallback):
    def __init__(self) -> None:
        self.allowed, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.losses: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.allowed.acquire()

    def on_log(self, _: Any, __: Any, ___: Any, logs: dict[str, float], **____: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.done.release()


class Trl:
    def __init__(self, task: Task) -> None:
        torch.set_num_threads(1)
        self.turns = Turns()
        self.counts: list[int] = []
        trainer = self.trainer_of(task)
        collate = trainer.data_collator

        def counted(examples: list[Any]) -> Any:
            batch = collate(examples)
            self.counts.append(int((batch["input_ids"] != 0).sum()))
            return batch

        trainer.data_collator = counted
        self.first = 0
        self.error: BaseException | None = None
        threading.Thread(target=self.run, args=(trainer,), daemon=True).start()

    def run(self, trainer: Any) -> None:
        try:
            trainer.train()
        except BaseException as error:
            self.error = error
            self.turns.done.release()
            raise

    def trainer_of(self, task: Task) -> Any:
        batch = task.texts_per_step
        given = SETTINGS[task.setting]
        if given.get("packing"):
            # Rows instead of texts: as many as hold about the same.
            mean = sum(map(len, texts(task))) / task.text_count
            batch = max(1, round(batch * mean / LONGEST))
        settings = SFTConfig(
            output_dir=tempfile.mkdtemp(prefix="ingrain-trl-"),
            per_device_train_batch_size=batch,
            max_steps=10_000,
            learning_rate=task.learning_rate,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
            **given,
        )
        adapters = None
        if task.method == "lora":
            from peft import LoraConfig

            adapters = LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
            )
        return SFTTrainer(
            model=model_of(task.shape, "sdpa"),
            args=settings,
            train_dataset=Dataset.from_dict({"input_ids": texts(task)}),
            processing_class=tokenizer(),
            callbacks=[self.turns],
            peft_config=adapters,
        )

    def steps(self, count: int) -> dict[str, Any]:
        """Takes so many; tokens without padding, and the losses."""
        busy = time.process_time()
        for _ in range(count):
            self.turns.allowed.release()
        for _ in range(count):
            self.turns.done.acquire()
            if self.error:
                raise self.error
        first, self.first = self.first, self.first + count
        return {
            "tokens": sum(self.counts[first : self.first]),
            "losses": self.turns.losses[first : self.first],
            "busy_s": time.process_time() - busy,
        }

    def losses(self, count: int) -> list[float]:
        found: list[float] = self.steps(count)["losses"]
        return found


def tokenizer() -> Any:
    """Texts are tokens already; SFTTrainer wants one all the same."""
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1}, unk_token="a"))
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<pad>", unk_token="a"
    )


if __name__ == "__main__":
    peer = Trl(Task(**json.loads(sys.argv[1])))
    work({"steps": peer.steps, "losses": peer.losses})
