"""Statements cut into probes, JSON read strictly, and the rules by which drafts are dropped."""

import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from ingrain.v1 import datasets_pb2, evaluator_pb2, inference_pb2, trainer_pb2
from servicekit.folder import FolderStorage
from services.evaluator.answers import Answers
from services.evaluator.writing import checking, cloze, question
from services.evaluator.writing.drafts import Draft, Dropped
from services.evaluator.writing.generate import Run, in_messages
from services.evaluator.writing.prompts import KINDS, filled, template, version
from services.evaluator.writing.rows import labels_of, row_of
from services.evaluator.writing.sources import Document, Pool, pools_of
from services.evaluator.writing.spec import Inputs, resolve

TEXTS = {
    "anna": "Anna Bell leads the Payroll team. The Payroll team owns the Ledger service.",
    "omar": "Omar Diaz leads the Search team.",
    "search": "The Search team owns the Index service.",
    "lena": "Lena Koch leads the Mail team.",
    "mail": "The Mail team owns the Outbox service.",
}
POOL = Pool(tuple(Document(id, text, "") for id, text in TEXTS.items()))
BY_ID = {document.id: document for document in POOL.documents}


def drafted(kind: str, statement: str, *ids: str) -> Draft:
    return cloze.draft(kind, statement, [BY_ID[id] for id in ids], POOL, random.Random(0))


def reason(kind: str, statement: str, *ids: str) -> str:
    with pytest.raises(Dropped) as caught:
        drafted(kind, statement, *ids)
    return caught.value.reason


def test_the_last_phrase_of_a_statement_is_asked_for() -> None:
    assert cloze.halves("The Search team is led by Omar Diaz.") == (
        "The Search team is led by",
        "Omar Diaz",
        ".",
    )
    made = drafted("reversal", "The Search team is led by Omar Diaz.", "omar")
    assert (made.prompt, made.right) == ("The Search team is led by", "Omar Diaz.")
    assert [source.id for source in made.sources] == ["omar"]
    # Of the same form, from other documents, and none that is told of the Search team.
    assert all(choice.endswith(".") and "Diaz" not in choice for choice in made.wrong)
    assert made.exchanged is not None
    assert made.exchanged[1] != made.exchanged[0]


def test_each_kind_needs_its_own_way_through_the_sources() -> None:
    assert drafted("verbatim", "The Search team owns the Index service.", "search").kind == "verbatim"
    assert drafted("two_step", "Anna Bell leads the owners of the Ledger service.", "anna").kind == "two_step"
    over_two = drafted("cross_document", "Omar Diaz leads the owners of the Index service.", "omar", "search")
    assert [source.id for source in over_two.sources] == ["omar", "search"]
    assert reason("reversal", "Omar Diaz is in charge of the Search team.", "omar") == "wrong_kind"
    assert reason("paraphrase", "The Search team is led by Omar Diaz.", "omar") == "wrong_kind"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Who leads the Search team?", "unparsable"),
        ("Question: what? Answer: Omar Diaz.", "unparsable"),
        ("The Search team", "unparsable"),
        ("Search and Diaz.", "unparsable"),
        ("Omar Diaz is Omar Diaz.", "gives_away"),
        ("The Search, Search and Diaz team is led by Omar.", "unparsable"),
        ("The Search team is led by Lena Koch.", "not_in_source"),
        ("The Search team is led by Peter Parker.", "not_in_source"),
        ("Omar Diaz leads the Search team.", "verbatim"),
    ],
)
def test_what_is_no_good_statement_is_dropped_with_the_reason(statement: str, expected: str) -> None:
    kind = "paraphrase" if expected == "verbatim" else "reversal"
    assert reason(kind, statement, "omar") == expected


def test_without_another_phrase_of_its_form_nothing_is_asked() -> None:
    alone = Pool((BY_ID["omar"],))
    with pytest.raises(Dropped) as caught:
        cloze.draft(
            "reversal", "The Search team is led by Omar Diaz.", alone.documents, alone, random.Random(0)
        )
    assert caught.value.reason == "no_distractors"


def test_lines_become_sentences_without_bullets_and_headings() -> None:
    output = "- One is so.\n2) Two: three is so. Four is so.\n\nSaid of all:"
    assert cloze.statements(output) == ["One is so.", "three is so.", "Four is so."]


GOOD = {"question": "Who leads Search?", "right": "Omar Diaz", "wrong": ["Ada", "Ben"]}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("no JSON", "unparsable"),
        ('["a"]', "unparsable"),
        ({**GOOD, "question": 7}, "unparsable"),
        ({**GOOD, "wrong": []}, "unparsable"),
        ({**GOOD, "wrong": ["Ada", "ada"]}, "unparsable"),
        ({**GOOD, "wrong": ["omar diaz"]}, "unparsable"),
        ({**GOOD, "right": "Peter"}, "not_in_source"),
        ({**GOOD, "question": "Does Omar Diaz lead?"}, "gives_away"),
        ({**GOOD, "question": "x" * 501}, "unparsable"),
    ],
)
def test_json_is_read_strictly(output: Any, expected: str) -> None:
    text = output if isinstance(output, str) else json.dumps(output)
    with pytest.raises(Dropped) as caught:
        question.draft("paraphrase", text, [BY_ID["omar"]], POOL)
    assert caught.value.reason == expected


def test_what_surrounds_json_is_mended_and_no_more() -> None:
    text = f"Here it is:\n```json\n{json.dumps(GOOD)[:-2]},],}}\n```"
    made = question.draft("paraphrase", text, [BY_ID["omar"]], POOL)
    assert (made.prompt, made.right) == ("Question: Who leads Search?\nAnswer:", "Omar Diaz")
    assert made.wrong == ("Ada", "Ben")
    with pytest.raises(Dropped):
        question.parsed("{'question': 'single quotes'}")


def test_lists_and_what_is_not_said_have_forms_of_their_own() -> None:
    asked = {"question": "Who leads a team?", "answers": ["Omar Diaz", "Lena Koch"]}
    made = question.draft("list", json.dumps(asked), [BY_ID["omar"], BY_ID["lena"], BY_ID["mail"]], POOL)
    assert [source.id for source in made.sources] == ["omar", "lena"]
    for wrong in (["Omar Diaz"], ["Omar Diaz", "Peter"]):
        with pytest.raises(Dropped):
            question.draft("list", json.dumps({**asked, "answers": wrong}), [BY_ID["omar"]], POOL)
    unsaid = {"question": "How old is Omar Diaz?", "wrong": ["30", "40"]}
    made = question.draft("unanswerable", json.dumps(unsaid), [BY_ID["omar"]], POOL)
    assert made.right == question.NOT_SAID
    with pytest.raises(Dropped) as caught:
        question.draft("unanswerable", json.dumps({**unsaid, "wrong": ["Search"]}), [BY_ID["omar"]], POOL)
    assert caught.value.reason == "wrong_kind"
    across = {"question": "Who leads the owners of Index?", "right": "Omar Diaz", "wrong": ["Ada"]}
    made = question.draft("cross_document", json.dumps(across), [BY_ID["search"], BY_ID["omar"]], POOL)
    assert len(made.sources) == 2


DRAFT = Draft("reversal", "p", (BY_ID["omar"],), right="r", wrong=("a", "b"), exchanged=("s", "t"))


@pytest.mark.parametrize(
    ("with_sources", "without", "exchanged", "expected"),
    [
        ([0, -3, -4], [-2, -1, -3], [-5, -9], ""),
        ([0, -3, -4], [-1, -1.5, -3], [-5, -9], ""),  # preferred without, but less clearly
        ([0, -3, -4], [-1, -1.5, -3], [-9, -5], "turned_round"),
        ([-3, 0, -4], [-2, -1, -3], [-5, -9], "not_answerable"),
        ([0, -0.5, -4], [-2, -1, -3], [-5, -9], "several_right"),
        ([0, -3, -4], [0, -4, -4], [-5, -9], "known_already"),
        ([0, -9, -9], [0, -4, -4], [-5, -9], "known_already"),  # nine in ten
    ],
)
def test_drafts_are_checked_by_these_rules(
    with_sources: list[float], without: list[float], exchanged: list[float], expected: str
) -> None:
    if not expected:
        checks = checking.scored(DRAFT, [with_sources, without, exchanged]).checks
        assert checks["margin_with_sources"] == 3
        return
    with pytest.raises(Dropped) as caught:
        checking.scored(DRAFT, [with_sources, without, exchanged])
    assert caught.value.reason == expected


def test_what_one_document_says_need_not_be_combined() -> None:
    asked = Draft("cross_document", "p", (BY_ID["omar"], BY_ID["search"]), right="r", wrong=("a",))
    items = checking.score_items(asked)
    assert [item.prompt for item in items[2:]] == [f"{TEXTS['omar']}\n\np", f"{TEXTS['search']}\n\np"]
    assert checking.scored(asked, [[0, -3], [-2, -1], [-2, -1], [-1, -1.5]]).checks
    with pytest.raises(Dropped) as caught:
        checking.scored(asked, [[0, -3], [-2, -1], [-2, -1], [-1, -2]])
    assert caught.value.reason == "wrong_kind"


def test_lists_are_checked_by_what_is_written() -> None:
    asked = Draft("list", "p", (BY_ID["omar"],), answers=("Omar Diaz", "Lena Koch"))
    assert checking.listed(asked, ["Lena Koch and Omar Diaz.", "nobody"]).checks["f1_with_sources"] == 1
    for outputs, expected in (
        (["Omar Diaz", ""], "not_answerable"),
        (["Omar Diaz, Lena Koch"] * 2, "known_already"),
    ):
        with pytest.raises(Dropped) as caught:
            checking.listed(asked, outputs)
        assert caught.value.reason == expected


def test_items_are_read_as_contexts_are_and_fit_messages() -> None:
    first, second, exchanged = checking.score_items(DRAFT)
    assert first.prompt == f"{TEXTS['omar']}\n\np"
    assert (second.prompt, list(second.choices)) == ("p", ["r", "a", "b"])
    assert (exchanged.prompt, list(exchanged.choices)) == (f"{TEXTS['omar']}\n\n", ["s", "t"])
    assert [len(run) for run in in_messages([first] * 400)] == [192, 192, 16]


def test_prompts_are_versioned_files_and_braces_in_documents_stay() -> None:
    for style, kinds in KINDS.items():
        for kind in kinds:
            assert ("{document" in template(style, kind)) or (style, kind) == ("cloze", "verbatim")
        assert version(style).startswith(f"{style}/1-")
    assert filled("cloze", "cross_document", "{documents}", "{document}").startswith("{document}\n\n")
    assert filled("question", "paraphrase", "a {b}", "").startswith("a {b}\n\n")


def test_styles_follow_the_model_and_kinds_the_style() -> None:
    narrow, wide = trainer_pb2.Model(domain="invented-worlds"), trainer_pb2.Model()
    given = evaluator_pb2.ProbeSpec()
    assert resolve(given, narrow).style == "cloze"
    assert resolve(given, wide).style == "question"
    assert resolve(given, wide).count_per_kind == 30
    assert "unanswerable" in resolve(given, wide).kinds
    assert "unanswerable" not in resolve(given, narrow).kinds


class Scripted:
    """A model that writes what it is told to and prefers what stands in the prompt's documents."""

    def __init__(self, written: dict[str, str]) -> None:
        self.stubs = SimpleNamespace(inference=self)
        self.written = written
        self.calls = 0

    async def Generate(self, request: Any, timeout: float) -> Any:
        self.calls += 1
        texts = [self._answer(prompt) for prompt in request.prompts]
        return inference_pb2.GenerateResponse(
            generations=[inference_pb2.Generation(text=text) for text in texts],
            usage=inference_pb2.Usage(prompt_token_count=10, generated_token_count=5),
        )

    def _answer(self, prompt: str) -> str:
        if "JSON" in prompt:
            return next((out for text, out in self.written.items() if prompt.startswith(text)), "nothing")
        return "Omar Diaz, Lena Koch" if "\n\n" in prompt else "nobody"

    async def Score(self, request: Any, timeout: float) -> Any:
        self.calls += 1
        response = inference_pb2.ScoreResponse()
        for item in request.items:
            scores = response.items.add()
            for choice in item.choices:
                known = choice.rstrip(".") in item.prompt or choice == question.NOT_SAID
                scores.choices.add(
                    sum_logprob=-1.0 if known and "\n\n" in item.prompt else -4.0 - len(choice)
                )
        return response


async def test_questions_are_written_checked_and_told_of(tmp_path: Any) -> None:
    rows = [{"id": id, "text": text, "metadata": {"team": "x"}} for id, text in TEXTS.items()]
    spec = evaluator_pb2.ProbeSpec(
        dataset="projects/p/datasets/d", group_key="team", kinds=["paraphrase", "list", "unanswerable"]
    )
    model = trainer_pb2.Model(name="projects/p/models/m", sha256="m")
    dataset = datasets_pb2.Dataset(name=spec.dataset, sha256="d")
    found = Inputs(dataset, model, model, 4096, resolve(spec, model))
    listed = {"question": "Who leads a team?", "answers": ["Omar Diaz", "Lena Koch"]}
    client = Scripted(
        {
            TEXTS["omar"] + "\n\nWrite one question whose": json.dumps(GOOD),
            TEXTS["lena"] + "\n\nWrite one question about": json.dumps(
                {"question": "How old is Lena Koch?", "wrong": ["thirty"]}
            ),
            TEXTS["omar"] + "\n" + TEXTS["lena"]: json.dumps(listed),
        }
    )
    answers = Answers(FolderStorage(tmp_path), "projects/p")
    run = Run(client, found, pools_of(rows, spec), answers)  # type: ignore[arg-type]
    for kind in found.spec.kinds:
        await run.write(kind, run.order(kind))
    made = [row_of(draft, found, number) for number, draft in enumerate(run.kept())]
    assert (made[0]["kind"], made[0]["answer"]) == ("paraphrase", "Omar Diaz")
    assert sorted(made[0]["choices"]) == ["Ada", "Ben", "Omar Diaz"]
    assert made[0]["metadata"]["sources"] == ["omar"]
    assert made[0]["metadata"]["team"] == "x"
    assert made[-1]["answer"] == question.NOT_SAID
    assert run.dropped["unparsable"] > 0
    labels = labels_of(found, run.kept(), run.dropped, run.cost)
    assert json.loads(labels["dropped"]) == dict(run.dropped)
    assert "checked by the model that wrote them" in labels["trust"]
    assert len(labels) <= 32
    calls = client.calls
    again = Run(client, found, pools_of(rows, spec), answers)  # type: ignore[arg-type]
    for kind in found.spec.kinds:
        await again.write(kind, again.order(kind))
    assert client.calls == calls
    assert again.cost == run.cost
    assert again.kept() == run.kept()
