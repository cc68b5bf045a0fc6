"""Writes docs/sizing.md: what 100, 1,000 and 10,000 pages take with models of 0.5B, 8B and 70B. Everything in it is computed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servicekit.costs import forward_flops, training_flops

PAGE_TOKENS = 650  # 500 words
PAGES = (100, 1_000, 10_000)
QUESTION_TOKENS, ANSWER_TOKENS = 60, 60
PASSAGES, PASSAGE_TOKENS = 5, 100
LOCAL_PROMPTS, LOCAL_PROMPT_TOKENS, GLOBAL_PROMPTS = 3, 50, 1  # for each page
WRITTEN_TOKENS = 250  # by each prompt of augmentation
PASSES = 3  # over documents and derived rows
ROW_TOKENS = 1_024
WINDOW_SHARE = 0.9  # of a window that documents may take
# An H100 of 80 GB: peak in bf16 without sparsity, usable memory, price of an hour in EUR (an example, 2026-11).
PEAK_FLOPS, GPU_BYTES, MEMORY_BYTES_S, HOUR = 989e12, 72e9, 3.35e12, 2.80
# Shares of that peak which well-kept software is known to reach; nothing of it was measured here.
TRAIN_SHARE, READ_SHARE = 0.40, 0.50
DECODED_TOGETHER = 64  # sequences that share each reading of the weights
FULL_BYTES, LORA_BYTES = (
    16,
    2.2,
)  # per parameter: bf16 weights and gradients, fp32 master copy, AdamW; or frozen bf16


@dataclass(frozen=True)
class Shape:
    name: str
    parameters: float
    layers: int
    hidden: int
    kv_width: int  # of keys (and of values) per layer
    window: int

    def read(self, tokens: float, cached: float = 0.0) -> float:
        return forward_flops(int(self.parameters), self.layers, self.hidden, int(tokens), int(cached))

    @property
    def kv_bytes(self) -> float:
        """Of one token in bf16."""
        return 2.0 * self.layers * self.kv_width * 2


SHAPES = (
    Shape("0.5B", 0.49e9, 24, 896, 128, 32_768),
    Shape("8B", 8.03e9, 32, 4_096, 1_024, 131_072),
    Shape("70B", 70.6e9, 80, 8_192, 1_024, 131_072),
)


@dataclass(frozen=True)
class Cell:
    """GPU-hours of the parts, GPUs for memory, and a thousand questions in each way."""

    whole: bool  # all documents fit the window together
    augment_hours: float
    train_hours: float
    full_bytes: float  # memory of all GPUs together
    lora_bytes: float
    serve_bytes: float
    in_context_hours: float  # 1,000 questions, documents (or as many as fit) cached
    in_context_cold_hours: float
    rag_hours: float
    adapted_hours: float


def cell(shape: Shape, pages: int) -> Cell:
    tokens = pages * PAGE_TOKENS
    room = WINDOW_SHARE * shape.window
    context = min(tokens, room)
    written = pages * (LOCAL_PROMPTS + GLOBAL_PROMPTS) * WRITTEN_TOKENS
    local = pages * LOCAL_PROMPTS * shape.read(PAGE_TOKENS + LOCAL_PROMPT_TOKENS)
    linking = shape.read(context) + pages * GLOBAL_PROMPTS * shape.read(PAGE_TOKENS, context)
    writing = pages * (
        LOCAL_PROMPTS * decode_s(shape, WRITTEN_TOKENS, PAGE_TOKENS)
        + GLOBAL_PROMPTS * decode_s(shape, WRITTEN_TOKENS, context)
    )
    trained = PASSES * (tokens + written)
    training = training_flops(int(shape.parameters), shape.layers, shape.hidden, int(trained), ROW_TOKENS)
    activations = 4e9 + 34.0 * ROW_TOKENS * shape.hidden * shape.layers / 8  # recomputed layer by layer
    asked = QUESTION_TOKENS
    return Cell(
        whole=tokens <= room,
        augment_hours=hours((local + linking) / (READ_SHARE * PEAK_FLOPS) + writing),
        train_hours=hours(training / (TRAIN_SHARE * PEAK_FLOPS)),
        full_bytes=FULL_BYTES * shape.parameters + activations,
        lora_bytes=LORA_BYTES * shape.parameters + activations,
        serve_bytes=2 * shape.parameters + context * shape.kv_bytes + 4e9,
        in_context_hours=thousand(shape, shape.read(asked, context), context),
        in_context_cold_hours=thousand(shape, shape.read(context + asked), context),
        rag_hours=thousand(shape, shape.read(asked + PASSAGES * PASSAGE_TOKENS), PASSAGES * PASSAGE_TOKENS),
        adapted_hours=thousand(shape, shape.read(asked), 0),
    )


def decode_s(shape: Shape, tokens: int, context: float) -> float:
    """Seconds of one GPU for one sequence: weights are read once for all that are written together, the context's keys and
    values for each (a shared context would be read once, where the engine can do that)."""
    weights = 2 * shape.parameters / DECODED_TOGETHER
    return tokens * (weights + context * shape.kv_bytes) / MEMORY_BYTES_S


def thousand(shape: Shape, reading_flops: float, context: float) -> float:
    return hours(1000 * (reading_flops / (READ_SHARE * PEAK_FLOPS) + decode_s(shape, ANSWER_TOKENS, context)))


def hours(seconds: float) -> float:
    return seconds / 3600


def gpus(needed_bytes: float) -> int:
    return max(1, math.ceil(needed_bytes / GPU_BYTES))


def room_of(needed_bytes: float) -> str:
    """`2 (133 GB)`."""
    return f"{gpus(needed_bytes)} ({needed_bytes / 1e9:.0f} GB)"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def lines() -> Iterator[str]:
    yield "# How large, how long, how dear"
    yield ""
    yield (
        "Every number on this page is computed by `tools/sizing.py` from the formulas below; none was measured, for no GPU was at "
        "hand. What was measured (the bundled model on two cores) stands at the end."
    )
    yield ""
    yield "## Building"
    yield ""
    yield (
        "GPU-hours of one H100; GPUs that the memory needs, full fine-tuning with everything sharded (ZeRO 3) and LoRA; money at "
        f"{HOUR:.2f} EUR an hour, an example of 2026-11: put your own price in its place. Hours are of one GPU; so many GPUs at once take "
        "a little more than that part of the time. All cells: computed."
    )
    yield ""
    yield "| pages | model | augmentation, h | training, h | GPUs, full | GPUs, LoRA | EUR to build |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    for pages in PAGES:
        for shape in SHAPES:
            c = cell(shape, pages)
            spent = (c.augment_hours + c.train_hours) * HOUR
            yield (
                f"| {pages:,} | {shape.name} | {number(c.augment_hours)}{'' if c.whole else ' *'} | {number(c.train_hours)} | "
                f"{room_of(c.full_bytes)} | {room_of(c.lora_bytes)} | {number(spent)} |"
            )
    yield ""
    yield "\\* The documents do not fit the window together: links are made over as many as fit."
    yield ""
    yield "## Asking"
    yield ""
    yield (
        "EUR for 1,000 questions: documents in the context with their keys and values cached, the same read again for each "
        "question, the best passages, and the adapted model; GPUs that weights and the context's keys and values need. All cells: computed."
    )
    yield ""
    yield "| pages | model | GPUs | cached context | not cached | passages | adapted | pays after, questions |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for pages in PAGES:
        for shape in SHAPES:
            c = cell(shape, pages)
            ways = [c.in_context_hours, c.in_context_cold_hours, c.rag_hours, c.adapted_hours]
            saved = (c.in_context_hours - c.adapted_hours) / 1000
            pays = math.ceil((c.augment_hours + c.train_hours) / saved) if saved > 0 else 0
            cells = " | ".join(
                f"{number(way * HOUR)}{'' if c.whole or i > 1 else ' *'}" for i, way in enumerate(ways)
            )
            yield f"| {pages:,} | {shape.name} | {room_of(c.serve_bytes)} | {cells} | {pays:,} |"
    yield ""
    yield (
        "\\* Only as many documents as fit the window are read: cheaper than it would be, and worse. "
        '"Pays after": questions from which on augmentation and training cost less than the cached context.'
    )
    yield ""
    yield "## Formulas and assumptions"
    yield ""
    yield from (f"- {line}" for line in assumptions())
    yield ""
    yield "## What was measured"
    yield ""
    yield (
        "The bundled model (1.4 million parameters) on two shared cores, two workers with ZeRO 2 (a demo of 2026-11-23): 397,533 "
        "tokens trained in 400 steps took 140 seconds of the processor (3.46 TFLOP, 25 GFLOP/s); augmentation read 276,671 tokens, of which "
        "229,701 from a cache, and wrote 68,833 in 53 seconds. Operations are reckoned by the same formulas; the shares of a GPU's peak are "
        "assumptions that nothing here checks. An estimate by trial (`ingrain estimate`) measures on the machine at hand instead: "
        "[estimates.md](estimates.md) says how close it comes."
    )


def assumptions() -> list[str]:
    return [
        f"A page has 500 words, {PAGE_TOKENS} tokens, and is one document.",
        f"Augmentation: {LOCAL_PROMPTS} local prompts a page and {GLOBAL_PROMPTS} global, {WRITTEN_TOKENS} tokens written by each; the whole "
        f"set (at most {WINDOW_SHARE:.0%} of the window) is read once and its keys and values are looked at by each global prompt.",
        f"Training: {PASSES} passes over documents and derived rows, packed to {ROW_TOKENS:,} tokens, at {TRAIN_SHARE:.0%} of the GPU's peak. "
        "LoRA saves memory, not operations, and is reckoned alike.",
        "Operations: 2 per parameter and token forward, 6 in training, and attention's 4 (12) x layers x width for each position "
        "looked at (`servicekit/costs.py`).",
        f"Reading at {READ_SHARE:.0%} of the peak. Writing is bound by memory: weights are read once for {DECODED_TOGETHER} sequences together, "
        f"keys and values of the context for each, at {MEMORY_BYTES_S / 1e12:.2f} TB/s.",
        f"Memory: {FULL_BYTES} bytes a parameter for full fine-tuning, {LORA_BYTES} for LoRA, activations with recomputation; to serve 2 bytes a "
        f"parameter and keys and values in bf16; {GPU_BYTES / 1e9:.0f} GB of a GPU are usable.",
        f"A question has {QUESTION_TOKENS} tokens and its answer {ANSWER_TOKENS}; passages are {PASSAGES} of {PASSAGE_TOKENS} tokens.",
        "Shapes: "
        + "; ".join(
            f"{s.name}: {s.parameters / 1e9:.2f}B parameters, {s.layers} layers, width {s.hidden:,}, window {s.window:,}"
            for s in SHAPES
        )
        + ".",
    ]


def page() -> str:
    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    Path("docs/sizing.md").write_text(page())
