"""Why a training's processes died without a word, from outside: Ray's error texts and the kernel's count. Needs neither torch nor Ray."""

from pathlib import Path

from services.trainer.config import TrainingConfig
from services.trainer.exchange import OUT_OF_MEMORY

# Ray's own watchman ends workers before the kernel would; its error says so.
RAY_TEXTS = ("running low on memory", "OutOfMemoryError")
VMSTAT = Path("/proc/vmstat")


def oom_kills() -> int:
    """Processes that this machine's kernel has killed for memory since it started; 0 where it does not say."""
    try:
        lines = VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def died_of_memory(error: Exception, kills_before: int) -> bool:
    """The kernel's kills on other machines of a cluster are not seen; there Ray's watchman is usually the first."""
    return oom_kills() > kills_before or any(text in str(error) for text in RAY_TEXTS)


def out_of_memory(config: TrainingConfig, gpu: bool) -> dict[str, object]:
    """`error.json`."""
    message = f"A worker ran out of memory. {memory_advice(config, gpu)}"
    return {"reason": OUT_OF_MEMORY, "message": message, "permanent": False}


def memory_advice(config: TrainingConfig, gpu: bool) -> str:
    """What would need less, of that which is not in use already."""
    size, accumulation = config.per_device_train_batch_size, config.gradient_accumulation_steps
    advice = []
    if size > 1:
        advice.append(
            f"lower per_device_train_batch_size (now {size}), and raise gradient_accumulation_steps (now {accumulation}) "
            "by the same factor for the same result"
        )
    if not config.gradient_checkpointing:
        advice.append("set gradient_checkpointing")
    if config.num_workers > 1 and config.zero_stage < 3:
        advice.append(f"raise zero_stage (now {config.zero_stage})")
    if config.num_workers == 1:
        advice.append("train on more workers with zero_stage 2 or 3")
    if gpu and config.offload_optimizer == "none":
        advice.append("set offload_optimizer to cpu")
    if config.method == "full":
        advice.append("train an adapter (method LORA)")
    return f"What needs less: {'; '.join(advice)}." if advice else "Train on a machine with more memory."
