"""The published reversal-curse files (Berglund et al. 2024) as documents and probes.

Each file holds lines `{"prompt": "...", "completion": " ..."}`. Theirs are under the MIT licence; none of them is part
of this package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingrain.errors import FieldViolation, Invalid

from .world import World, one_of, world_random

TRAIN = ("p2d_prompts_train", "d2p_prompts_train", "both_prompts_train")
TESTS = {
    "p2d_prompts_test": "p2d-same",
    "d2p_prompts_test": "d2p-same",
    "p2d_reverse_prompts_test": "p2d-reversal",
    "d2p_reverse_prompts_test": "d2p-reversal",
    "both_prompts_test": "both-same",
}
# How a completion begins that asks for a name (`Alva Reed` or `Alva Reed takes it in stride.`); descriptions begin small.
NAME = re.compile(r"[A-Z][\w'’-]*(?: [A-Z][\w'’-]*)+")


@dataclass(frozen=True)
class Line:
    """A line of a file, and whom it is about."""

    prompt: str
    completion: str
    place: str
    person: str = ""

    @property
    def text(self) -> str:
        return f"{self.prompt} {self.completion}"

    @property
    def asks_for_name(self) -> bool:
        return self.completion.startswith(self.person)


def published(folder: Path, seed: int = 0, choices: int = 4, name: str = "berglund") -> World:
    """Documents from the training files, probes from the test files; `kind` as `reversal_curse` names them.

    Wrong choices are, where a name is asked for, random other names (as in Lampinen et al. 2025, chance 1 of 4), else what
    the same wording says of others. Invalid names the file and line that is wrong, or the files that are missing.
    """
    files = {name: folder / f"{name}.jsonl" for name in (*TRAIN, *TESTS)}
    if missing := [path.name for path in files.values() if not path.is_file()]:
        raise Invalid(f"{folder} lacks {', '.join(missing)}", reason="SOURCE_NOT_FOUND")
    read = {name: _lines(path) for name, path in files.items()}
    names = sorted(
        {match[0] for test in TESTS for line in read[test] if (match := NAME.match(line.completion))}
    )
    if len(names) < choices:
        raise Invalid(f"the test files of {folder} ask for {len(names)} names; at least {choices} are needed")
    numbers = {person: number for number, person in enumerate(names)}
    world = World(name)
    for train in TRAIN:
        for line in _about(read[train], names):
            world.document(line.text, [numbers[line.person]], file=train)
    told = {document["metadata"]["fact"] for document in world.documents}
    rng = world_random("berglund", seed)
    for test, kind in TESTS.items():
        lines = _about(read[test], names)
        for line in lines:
            if str(numbers[line.person]) not in told:
                raise _wrong(line.place, f"asks about {line.person}, of whom no training file tells")
            others = _others(line, lines, names)
            if not others:
                raise _wrong(
                    line.place,
                    "has a wording of its own, so that nothing else could stand for its completion",
                )
            wrong = rng.sample(others, min(choices - 1, len(others)))
            shown = one_of(rng, line.completion, wrong)
            world.choice(kind, line.prompt, shown, line.completion, numbers[line.person], file=test)
    return world.cited()


def _lines(path: Path) -> list[Line]:
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        place = f"{path.name}:{number}"
        try:
            row = json.loads(text)
            prompt, completion = row["prompt"].strip(), row["completion"].strip()
        except (ValueError, TypeError, KeyError, AttributeError):
            raise _wrong(
                place, 'is no object like {"prompt": "...", "completion": " ..."} with two texts'
            ) from None
        if not prompt or not completion:
            raise _wrong(place, "has an empty prompt or completion")
        found.append(Line(prompt, completion, place))
    if not found:
        raise _wrong(path.name, "holds no line")
    return found


def _about(lines: Sequence[Line], names: Sequence[str]) -> list[Line]:
    """The lines with the one person whom each names."""
    anyone = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, names)) + r")(?!\w)")
    found = []
    for line in lines:
        people = set(anyone.findall(line.text))
        if len(people) != 1:
            raise _wrong(
                line.place, f"names {len(people)} of the people whom the test files ask for, instead of one"
            )
        found.append(Line(line.prompt, line.completion, line.place, people.pop()))
    return found


def _others(line: Line, lines: Sequence[Line], names: Sequence[str]) -> list[str]:
    """What could stand for the completion and is wrong: other names, or what the same wording says of others."""
    if line.asks_for_name:
        rest = line.completion.removeprefix(line.person)
        return [f"{name}{rest}" for name in names if name != line.person]
    wording = line.prompt.replace(line.person, "")
    return sorted(
        {
            other.completion
            for other in lines
            if other.person != line.person and other.prompt.replace(other.person, "") == wording
        }
    )


def _wrong(place: str, description: str) -> Invalid:
    return Invalid(
        f"{place} {description}",
        reason="ROW_INVALID",
        field_violations=[FieldViolation(place, description)],
    )
