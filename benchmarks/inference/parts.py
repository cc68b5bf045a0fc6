"""What is measured of the engine. Each part returns lines of a table and says what it did."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.inference import limits
from benchmarks.inference.contender import TOOL_PYTHON, Contender
from benchmarks.inference.limits import SHAPE_135M
from benchmarks.inference.material import WORDS, Texts
from benchmarks.inference.paired import Ratio, in_turns, ratio

CONTEXT, QUESTION, CHOICES, CHOICE = 4_096, 64, 4, 8


@dataclass(frozen=True)
class Place:
    """Where the model and what belongs to it lie."""

    folder: Path
    storage: Path
    scratch: Path


@dataclass(frozen=True)
class Line:
    """`ratio`: how many times longer the other takes. `limit`: that of the least operations."""

    what: str
    ours_s: float
    theirs_s: float
    ratio: Ratio
    limit: float | None = None
    goal: float | None = None


@dataclass(frozen=True)
class Found:
    title: str
    said: str
    lines: list[Line] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def warm(place: Place, pairs: int) -> Found:
    """One context, a hundred questions, against reading context and question for each."""
    texts = Texts(place.folder)
    documents = texts.of(CONTEXT)
    questions = [texts.of(QUESTION) for _ in range(100)]
    lines, facts = [], {}
    with ExitStack() as stack:
        ours = stack.enter_context(_ours(place))
        theirs = stack.enter_context(Contender("peer_generate", place.folder))
        facts["same texts of 2 questions, 16 tokens"] = _same_texts(ours, theirs, documents, questions[:2])
        for count, written, turns in ((100, 1, pairs), (16, 1, pairs), (32, 32, max(3, pairs - 2))):
            asked = questions[:count]
            cold: list[float] = []

            def mine(asked: list[str] = asked, written: int = written, cold: list[float] = cold) -> float:
                read_s, _ = ours.turn("read", documents=documents)
                first_s, _ = ours.turn("generate", prompts=asked[:1], max_tokens=written)
                rest_s, _ = ours.turn("generate", prompts=asked[1:], max_tokens=written)
                cold.append(read_s + first_s)
                return read_s + first_s + rest_s

            one = _one_by_one(theirs, documents, questions, written)
            measured = in_turns(mine, lambda count=count, one=one: count * one(), turns)
            limit = (
                limits.shared_context(SHAPE_135M, texts.count(documents), QUESTION, count)
                if written == 1
                else None
            )
            goal = 0.7 * limit if limit else None
            label = (
                f"{count} questions, {written} token{'s' if written > 1 else ''} written, reading included"
            )
            lines.append(_line(label, measured, limit, goal))
            if count == 100:
                facts["first answer, cold (s)"] = round(min(cold), 2)
        warm_s = [ours.turn("generate", prompts=[one], max_tokens=1)[0] for one in questions[:5]]
        facts["first answer, warm (s)"] = round(sorted(warm_s)[2], 3)
    said = (
        f"A context of {texts.count(documents)} tokens, questions of {QUESTION}. The other is transformers' `generate`, which reads "
        "context and question each time; one question of it is timed a turn and multiplied, for nothing is shared between them."
    )
    return Found("Warm context against `generate`", said, lines, facts)


def scoring(place: Place, pairs: int) -> Found:
    """Four choices a question over one context, against one whole forward pass a choice."""
    texts = Texts(place.folder, seed=2)
    documents = texts.of(CONTEXT)
    items = [texts.question(48, CHOICES, CHOICE) for _ in range(100)]
    shapes = [
        (texts.count_further(prompt), list(map(texts.count_further, choices))) for prompt, choices in items
    ]
    with _ours(place) as ours, Contender("peer_hflm", place.folder, python=TOOL_PYTHON) as theirs:
        ours.turn("read", documents=documents)
        _, mine = ours.turn("score", items=items[:1])
        _, other = theirs.turn("score", items=items[:1], documents=documents)
        facts: dict[str, Any] = {"furthest apart (nats)": _furthest(mine["sums"], other["sums"])}
        lines = []
        parts: dict[int, list[tuple[float, float]]] = {20: [], 100: []}
        for number in range(pairs):
            theirs_s = 0.0
            if number % 2:
                theirs_s, _ = theirs.turn("score", items=items[number : number + 1], documents=documents)
            took = {}
            for count in parts:
                read_s, _ = ours.turn("read", documents=documents)
                took[count] = read_s + ours.turn("score", items=items[:count])[0]
            if not number % 2:
                theirs_s, _ = theirs.turn("score", items=items[number : number + 1], documents=documents)
            for count in parts:
                parts[count].append((took[count], count * theirs_s))
        for count, goal in ((20, 32.0), (100, 68.0)):
            limit = limits.scoring_each(SHAPE_135M, texts.count(documents), shapes[:count])
            lines.append(
                _line(f"{count} questions of {CHOICES} choices, reading included", parts[count], limit, goal)
            )
    said = (
        f"A context of {texts.count(documents)} tokens, questions of 48, choices of {CHOICE} tokens, here and there one more. The other is lm-evaluation-harness's HFLM, batch size 1; one "
        "question (four forward passes) of it is timed a turn and multiplied, for it shares nothing between questions or choices."
    )
    return Found("Scoring over one context against HFLM", said, lines, facts)


def short(place: Place, pairs: int) -> Found:
    """Without a context that is shared."""
    texts = Texts(place.folder, seed=3)
    many = [texts.question(120, CHOICES, 10) for _ in range(5)]
    short_words = [f" {word}" for word in WORDS if texts.count_further(f" {word}") == 1]
    single = [(prompt, short_words[:CHOICES]) for prompt, _ in many]
    prompts = [texts.of(120) for _ in range(8)]
    lines, facts = [], {}
    with ExitStack() as stack:
        ours = stack.enter_context(_ours(place))
        hflm = stack.enter_context(Contender("peer_hflm", place.folder, python=TOOL_PYTHON))
        generate = stack.enter_context(Contender("peer_generate", place.folder))
        for label, items, goal, batches in (
            ("ten tokens", many, 2.5, (1, 16)),
            ("one token", single, 1.2, (16,)),
        ):
            tokens = [[texts.count_further(choice) for choice in choices] for _, choices in items]
            for batch in batches:
                ours_of, theirs_of = _both(
                    "score", ours, hflm, {"items": items}, {"items": items, "batch": batch}
                )
                answers = ours.turn("score", items=items)[1], hflm.turn("score", items=items, batch=batch)[1]
                facts[f"{label}: furthest apart (nats)"] = _furthest(answers[0]["sums"], answers[1]["sums"])
                # Of choices of one token the other, too, makes one pass.
                shapes = [
                    (texts.count(prompt), told) for (prompt, _), told in zip(items, tokens, strict=True)
                ]
                limit = limits.scoring_each(SHAPE_135M, 0, shapes) if items is many else None
                measured = in_turns(ours_of, theirs_of, pairs)
                lines.append(
                    _line(f"5 questions, choices of {label}; HFLM batch {batch}", measured, limit, goal)
                )
        for batch in (1, 8):
            ours_of, theirs_of = _both(
                "generate",
                ours,
                generate,
                {"prompts": prompts, "max_tokens": 32},
                {"prompts": prompts, "max_tokens": 32, "batch": batch},
            )
            label = f"8 prompts of 120 tokens, 32 written; `generate` batch {batch}"
            lines.append(_line(label, in_turns(ours_of, theirs_of, pairs), None, None))
    said = "Questions of 120 tokens, no documents. The others: HFLM (four choices), and transformers' `generate`."
    return Found("Short prompts without a shared context", said, lines, facts)


def long(place: Place, pairs: int) -> Found:
    """Whether memory stays flat while a long context is read. `pairs` has no meaning here."""
    texts = Texts(place.folder, seed=4)
    facts: dict[str, Any] = {}
    for tokens in (4_096, 32_768):
        documents = texts.of(tokens)
        with _ours(place) as ours:
            ours.turn("generate", prompts=["the"], max_tokens=1)
            before = ours.turn("generate", prompts=["the"], max_tokens=1)[1]["peak_bytes"]
            seconds, done = ours.turn("read", documents=documents)
            warm_s, _ = ours.turn("generate", prompts=[texts.of(QUESTION)], max_tokens=1)
        beyond = done["peak_bytes"] - before - done["cache_bytes"]
        facts[f"{tokens} tokens"] = {
            "read in (s)": round(seconds, 1),
            "GFLOP/s": round(SHAPE_135M.forward(tokens) / seconds / 1e9, 1),
            "a question then (s)": round(warm_s, 2),
            "keys and values (MiB)": done["cache_bytes"] >> 20,
            "peak beyond model and these (MiB)": beyond >> 20,
        }
    said = "A context read in pieces, by a fresh process each: memory beyond the model and the keys and values that are kept."
    return Found("A long context in flat memory", said, [], facts)


PARTS: dict[str, Callable[[Place, int], Found]] = {
    "short": short,
    "warm": warm,
    "scoring": scoring,
    "long": long,
}


def _ours(place: Place) -> Contender:
    return Contender("ours", place.folder, place.storage, place.scratch)


def _one_by_one(theirs: Contender, documents: str, questions: list[str], written: int) -> Callable[[], float]:
    left = iter(questions)

    def one() -> float:
        return theirs.turn("generate", prompts=[next(left)], max_tokens=written, documents=documents)[0]

    return one


def _both(
    do: str, ours: Contender, theirs: Contender, mine: dict[str, Any], others: dict[str, Any]
) -> tuple[Callable[[], float], Callable[[], float]]:
    return lambda: ours.turn(do, **mine)[0], lambda: theirs.turn(do, **others)[0]


def _line(what: str, measured: list[tuple[float, float]], limit: float | None, goal: float | None) -> Line:
    ours_s, theirs_s = (min(times) for times in zip(*measured, strict=True))
    return Line(what, ours_s, theirs_s, ratio(measured), limit, goal)


def _same_texts(ours: Contender, theirs: Contender, documents: str, questions: list[str]) -> bool:
    ours.turn("read", documents=documents)
    mine = ours.turn("generate", prompts=questions, max_tokens=16)[1]["texts"]
    other = theirs.turn("generate", prompts=questions, max_tokens=16, documents=documents)[1]["texts"]
    return bool(mine == other)


def _furthest(mine: list[list[float]], theirs: list[list[float]]) -> float:
    apart = [
        abs(a - b) for one, other in zip(mine, theirs, strict=True) for a, b in zip(one, other, strict=True)
    ]
    return float(f"{max(apart):.2g}")
