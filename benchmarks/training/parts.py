"""What is measured. Each part takes no more than eight minutes on a core of its own."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.inference.paired import Ratio, ratio
from benchmarks.training.contender import TRL_PYTHON, Contender
from benchmarks.training.material import Task

TEXTS_PER_STEP = {"30M": 16, "135M": 16, "tiny": 16}
STEPS_PER_TURN = {"30M": 3, "135M": 1, "tiny": 2}
SAME_STEPS = {"30M": 6, "135M": 2, "tiny": 4}


@dataclass(frozen=True)
class Line:
    """Tokens a second without padding, best of all turns, and the ratio of neighbouring turns, ours above theirs."""

    what: str
    ours: float
    theirs: float
    ratio: Ratio
    busy_ratio: Ratio  # the same by processor seconds, which other work on the machine does not change
    goal: float | None = None


@dataclass(frozen=True)
class Found:
    title: str
    said: str
    lines: list[Line] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Turn:
    """What came of some steps."""

    wall_s: float
    busy_s: float
    tokens: int
    flops: float = 0.0


def against_trl(
    shape: str, method: str, lengths: str, goals: dict[str, float | None]
) -> Callable[..., Found]:
    """A part: ours beside TRL's settings that have a goal, one after the other, with the same model and texts."""

    def part(pairs: int) -> Found:
        task = Task(shape, method, lengths, TEXTS_PER_STEP[shape])
        lines, facts = [], dict(compared(task))
        for setting, goal in goals.items():
            line, more = one_line(task, setting, goal, pairs)
            lines.append(line)
            facts |= more
        said = (
            f"{'All weights' if method == 'full' else 'Adapters of rank 16 on all linear layers'} of the {shape} shape, "
            f"{'lengths log-normal (mean 90, longest 512)' if lengths == 'spread' else 'all texts of 128 tokens'}, about "
            f"{TEXTS_PER_STEP[shape]} texts a step, bf16 under autocast on both sides. TRL's settings: `default` is SFTConfig's own (bf16, "
            "gradient checkpointing, padded), `grouped` without checkpointing and grouped by length, `packed` without checkpointing and with "
            "packed rows of 512 tokens."
        )
        return Found(f"{shape} {method}, {lengths} lengths, beside TRL", said, lines, facts)

    return part


def compared(task: Task) -> dict[str, Any]:
    """Both take the same texts in the same order; how far their losses are apart."""
    given = task.told() | {"setting": "same texts"}
    count = SAME_STEPS[task.shape]
    with ExitStack() as stack:
        ours = stack.enter_context(Contender("ours", given))
        mine = ours.turn("losses", count=count)[1]
    with Contender("peer_trl", given, TRL_PYTHON) as theirs:
        other = theirs.turn("losses", count=count)[1]
    apart = max(abs(a - b) for a, b in zip(mine, other, strict=True))
    what = f"loss after {count} steps of the same texts, ours and TRL's; furthest apart on the way"
    return {what: f"{mine[-1]:.4f}, {other[-1]:.4f}; {apart:.1g} nats"}


def one_line(task: Task, setting: str, goal: float | None, pairs: int) -> tuple[Line, dict[str, Any]]:
    with ExitStack() as stack:
        ours = stack.enter_context(Contender("ours", task.told()))
        theirs = stack.enter_context(Contender("peer_trl", task.told() | {"setting": setting}, TRL_PYTHON))
        return measured(f"TRL {setting}", task, ours, theirs, goal, pairs, ours)


def measured(
    what: str,
    task: Task,
    ours: Contender,
    theirs: Contender,
    goal: float | None,
    pairs: int,
    plain: Contender,
) -> tuple[Line, dict[str, Any]]:
    """A B B A ...; the first turn of each, which allocates, is not counted. `plain` is the one that can measure the peak."""
    count = STEPS_PER_TURN[task.shape]
    for contender in (ours, theirs):
        contender.turn("steps", count=1)
    turns: list[tuple[Turn, Turn]] = []
    peak = 0.0
    for number in range(pairs):
        if number % 2:
            second, first = turn(theirs, count), turn(ours, count)
        else:
            first, second = turn(ours, count), turn(theirs, count)
        turns.append((first, second))
        peaks = plain.turn("gemm")[1]
        peak = max(peak, peaks["bf16"])
    mine, other = zip(*turns, strict=True)
    line = Line(
        what,
        max(one.tokens / one.wall_s for one in mine),
        max(one.tokens / one.wall_s for one in other),
        ratio([(a.wall_s / a.tokens, b.wall_s / b.tokens) for a, b in turns]),
        ratio([(a.busy_s / a.tokens, b.busy_s / b.tokens) for a, b in turns]),
        goal,
    )
    best = max(mine, key=lambda one: one.flops / one.wall_s)
    share = best.flops / best.wall_s / peak / task.workers
    facts = {
        f"{what}: our share of the bf16 GEMM peak (MFU)": f"{share:.0%} of {peak / 1e9:.0f} GFLOP/s a thread; of fp32's "
        f"{peaks['fp32'] / 1e9:.0f}: {share * peak / peaks['fp32']:.1f} times"
    }
    return line, facts


def turn(contender: Contender, count: int) -> Turn:
    seconds, found = contender.turn("steps", count=count)
    return Turn(found.get("wall_s", seconds), found["busy_s"], found["tokens"], found.get("flops", 0.0))


def ray(shape: str) -> Callable[..., Found]:
    """A part: the step in Ray and DeepSpeed beside the bare one; two workers beside one."""

    def part(pairs: int) -> Found:
        bare = Task(shape, "full", "spread", TEXTS_PER_STEP[shape], engine="plain")
        inside = [("Ray, 1 worker, stage 0", 1, 0, 0.97)]
        inside += [(f"Ray, 2 workers, stage {stage}", 2, stage, None) for stage in range(4)]
        lines, facts = [], {}
        with Contender("ours", bare.told()) as theirs:
            for what, workers, stage, goal in inside:
                # Each worker has as many tokens as the bare one.
                given = bare.told() | {"workers": workers, "zero_stage": stage, "engine": "deepspeed"}
                with Contender("in_ray", given | {"texts_per_step": workers * bare.texts_per_step}) as ours:
                    line, more = measured(
                        what, Task(**given), ours, theirs, goal, pairs if workers == 1 else 3, theirs
                    )
                lines.append(line)
                facts |= more
        said = (
            f"The {shape} shape, all weights, lengths log-normal. The other is the same step in one process without Ray and DeepSpeed. A ratio "
            "is of tokens a second, all workers together; two workers have a step of twice the tokens. On one core two workers take "
            "turns too: there the ratio by processor seconds, of all workers together, says what a stage costs."
        )
        return Found(f"{shape} in Ray and DeepSpeed beside bare", said, lines, facts)

    return part


SPREAD_FULL = {"default": 3.0, "grouped": 1.3, "packed": 1.3}
LORA = {"grouped": 1.2}
PARTS: dict[str, Callable[..., Found]] = {
    "full-30m": against_trl("30M", "full", "spread", SPREAD_FULL),
    "full-30m-equal": against_trl("30M", "full", "equal", {"grouped": 1.0}),
    "lora-30m": against_trl("30M", "lora", "spread", LORA),
    "full-135m": against_trl("135M", "full", "spread", {"default": 3.0, "grouped": 1.3}),
    "full-135m-equal": against_trl("135M", "full", "equal", {"grouped": 1.0}),
    "lora-135m": against_trl("135M", "lora", "spread", LORA),
    "ray": ray("30M"),
    "smoke": against_trl("tiny", "full", "spread", SPREAD_FULL),
    "smoke-ray": ray("tiny"),
}
DEFAULT = [name for name in PARTS if not name.startswith("smoke")]
