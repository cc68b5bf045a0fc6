"""Options of augmentation on the command line -> fields of AugmentationSpec."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ingrain.errors import Invalid

Strategies = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="Repeat it for several. One document in sight: rephrase, reverse, infer, question_answer, summarize, active_reading; "
        "several: link, about, entity_pairs; without a model: reverse_words, identity_bridge, masked; or a name of --prompt. "
        "Default: rephrase, reverse, infer, link, about.",
    ),
]
Gates = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="NAME[=VALUE]",
        help="What is not kept; repeat it for several: near-duplicate=0.8, on-topic, contradiction, judge=MODEL, "
        "max-characters=N; keep-copies and keep-duplicates turn two of the usual ones off.",
    ),
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="NAME=FILE[:SEES]",
        help="A strategy's prompt out of a text file with {document} or {subject} in it; one of your own says what it sees: "
        "one-document, all-documents or subject-among-all, and then may say :structured.",
    ),
]
_SEES = ("one_document", "all_documents", "subject_among_all")
_SWITCHES = {
    "on-topic": "on_topic",
    "contradiction": "likelier_than_contradiction",
    "keep-copies": "keep_copies",
    "keep-duplicates": "keep_duplicates",
}
_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "near-duplicate": ("near_duplicate_threshold", float),
    "max-characters": ("max_characters", int),
    "judge": ("judge", str),
}


def gates_of(given: list[str] | None, model_name: Callable[[str], str]) -> dict[str, Any]:
    """Fields of QualityGates. `model_name`: the full name of a model."""
    gates: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if name in _SWITCHES and not equals:
            gates[_SWITCHES[name]] = True
        elif name in _VALUES and value:
            field, read = _VALUES[name]
            try:
                gates[field] = model_name(value) if field == "judge" else read(value)
            except ValueError:
                raise Invalid(f"--gate {text}: {value} is no number") from None
        else:
            known = ", ".join([*_SWITCHES, *(f"{name}=..." for name in _VALUES)])
            raise Invalid(f"--gate {text}: there is {known}")
    return gates


def prompts_of(given: list[str] | None) -> list[dict[str, Any]]:
    """PromptTemplates as dicts."""
    return [_prompt_of(text) for text in given or ()]


def _prompt_of(text: str) -> dict[str, Any]:
    name, equals, place = text.partition("=")
    if not name or not equals:
        raise Invalid(f"--prompt {text}: expected a strategy's name and a file, as in reverse=reverse.txt")
    structured = place.endswith(":structured")
    file, colon, sees = place.removesuffix(":structured").rpartition(":")
    sees = sees.replace("-", "_").lower()
    if not colon or sees not in _SEES:
        file, sees = place.removesuffix(":structured"), ""
    path = Path(file).expanduser()
    if not path.is_file():
        raise Invalid(f"--prompt {text}: {file} is no file")
    prompt: dict[str, Any] = {
        "strategy": name,
        "text": path.read_text().rstrip("\n"),
        "structured": structured,
    }
    return prompt | ({"sees": sees.upper()} if sees else {})
