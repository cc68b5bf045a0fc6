"""Probes made from plain documents: sound, checkable, the same for the same seed."""

from hypothesis import given
from hypothesis import strategies as st

from ingrain import probes

DOCUMENTS = [
    {
        "id": "tools",
        "text": "# Tools\n\nZed is an internal tool for data analysis. Quill is an internal tool for data "
        "analysis.\n\n- a bullet that is long enough to be taken for a sentence.\n\nThe team Amber owns Zed and "
        "looks after it every day. Too short.",
    },
    {"id": "people", "text": "Anna Berg leads the team Amber in the harbour of Oslo. Marlow is a bridge."},
]


def test_sentences_are_plain_and_know_their_source() -> None:
    found = probes.sentences(DOCUMENTS)
    assert [s.text for s in found] == [
        "Zed is an internal tool for data analysis.",
        "Quill is an internal tool for data analysis.",
        "The team Amber owns Zed and looks after it every day.",
        "Anna Berg leads the team Amber in the harbour of Oslo.",
    ]
    assert (found[3].source, found[3].document) == ("people", "people")
    (placed,) = probes.sentences([{**DOCUMENTS[1], "metadata": {"path": "a/people.md"}}])
    assert (placed.source, placed.document) == ("a/people.md", "people")


def test_verbatim_probes_can_be_answered_from_the_documents() -> None:
    known = probes.sentences(DOCUMENTS)
    made = probes.verbatim(known, seed=3)
    assert made == probes.verbatim(known, seed=3)
    texts = {sentence.text for sentence in known}
    for probe in made:
        assert f"{probe['prompt']} {probe['answer']}" in texts
        assert probe["choices"].count(probe["answer"]) == 1
        assert len(set(probe["choices"])) == len(probe["choices"]) == 3
    assert len(made) == 4
    said_in = {sentence.text: sentence.document for sentence in known}
    for probe in made:
        assert probe["metadata"]["sources"] == [said_in[f"{probe['prompt']} {probe['answer']}"]]


def test_one_sentence_has_no_wrong_endings() -> None:
    assert probes.verbatim(probes.sentences(DOCUMENTS)[:1]) == []


def test_reversals_must_be_reversals() -> None:
    known = probes.sentences(DOCUMENTS)
    written = [
        "Zed is owned and looked after by the team Amber.",  # turned round, `owned` and `looked` are new
        "The team Amber in the harbour of Oslo is led by Anna Berg.",  # turned round
        "Zed is an internal tool for data analysis.",  # a copy
        "Anna Berg leads Amber in Oslo.",  # same direction
        "The moon is made of green cheese.",  # nowhere
        "",
    ]
    kept = [text for text in written if probes.reversed_source(text, known)]
    assert kept == ["The team Amber in the harbour of Oslo is led by Anna Berg."]
    _, dropped = probes.reversals(written, known)
    assert dropped == len(written) - 1


def test_reversal_probes_ask_for_what_came_first() -> None:
    known = probes.sentences(
        [{"text": "Anna Berg leads the team Amber in Oslo. Carl Dahl leads the team Cobalt in Bergen."}]
    )
    written = [
        "The team Amber in Oslo is led by Anna Berg.",
        "The team Cobalt in Bergen is led by Carl Dahl.",
    ]
    made, dropped = probes.reversals(written, known)
    assert dropped == 0
    assert {probe["answer"] for probe in made} == {"by Anna Berg.", "by Carl Dahl."}
    assert all(probe["kind"] == "reversal" for probe in made)


def test_lists_need_two_members() -> None:
    assert probes.lists(probes.sentences(DOCUMENTS)) == [
        {
            "id": "list-0",
            "kind": "list",
            "question": "Name everything that is an internal tool for data analysis.",
            "answers": ["Zed", "Quill"],
            "metadata": {"sources": ["tools"]},
        }
    ]


@given(st.lists(st.text(max_size=200), max_size=5), st.text(max_size=80))
def test_any_text_is_survived(texts, written) -> None:
    known = probes.sentences([{"text": text} for text in texts])
    for probe in [*probes.verbatim(known), *probes.reversals([written], known)[0], *probes.lists(known)]:
        assert probe.get("answer") in probe.get("choices", [None])


def test_beginnings_that_go_on_in_several_ways_are_not_asked() -> None:
    texts = [
        "The harbour gate opens daily at nine sharp.",
        "The harbour gate opens daily at noon instead.",
        "Every northern bridge closes early on Sunday evening.",
        "Our oldest ferry carries timber to the island.",
    ]
    known = [probes.Sentence(text, "d") for text in texts]
    prompts = [probe["prompt"] for probe in probes.verbatim(known)]
    assert len(prompts) == 2
    assert not any("gate" in prompt for prompt in prompts)
