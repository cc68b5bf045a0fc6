import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.v1 import common_pb2
from services.inference.retrieval import Index, Piece, passages, pieces_of, read, stored

DOCUMENTS = ["The fen is red.", "The tor is blue. It sings.", "A fen and a tor met.", "Nothing of note."]
Retrieval = common_pb2.Retrieval


def index(texts: list[str], **settings: object) -> Index:
    return Index([Piece(text, len(text.split())) for text in texts], Retrieval(**settings))


def test_what_shares_the_rarer_words_is_best() -> None:
    assert index(DOCUMENTS).best("What colour is the fen?") == [0, 1, 2]
    assert index(DOCUMENTS).best("did fen and tor meet") == [2, 0, 1]
    assert index(DOCUMENTS, top_k=1).best("tor sings") == [1]


def test_what_shares_no_word_is_not_found() -> None:
    assert index(DOCUMENTS).best("zebra?") == []
    assert index(DOCUMENTS).best("!?") == []
    assert index(DOCUMENTS).documents("zebra?") == ""


def test_scores_are_those_of_the_formula() -> None:
    """Lucene's BM25: idf * f / (f + k1 * (1 - b + b * length / mean length))."""
    scores = index(["cat dog dog", "cat"])._scores.get_scores(["dog"])
    idf = 0.6931471805599453  # ln(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert scores.tolist() == pytest.approx([idf * 2 / (2 + 1.5 * (0.25 + 0.75 * 3 / 2)), 0.0])


def test_documents_stand_in_their_order_and_passages_with_the_best_last() -> None:
    question = "did fen and tor meet"
    assert index(DOCUMENTS, top_k=2).documents(question) == f"{DOCUMENTS[0]}\n{DOCUMENTS[2]}"
    best_last = index(DOCUMENTS, top_k=3, unit=Retrieval.PASSAGE).documents(question)
    assert best_last.splitlines() == [DOCUMENTS[1], DOCUMENTS[0], DOCUMENTS[2]]


def test_what_has_no_room_is_left_out_whole_from_the_worst_on() -> None:
    question = "did fen and tor meet"
    found = index(DOCUMENTS)
    assert found.token_count(question) == 7 + 5 + 7
    assert found.documents(question, room=12).splitlines() == [DOCUMENTS[0], DOCUMENTS[2]]
    assert found.documents(question, room=11) == DOCUMENTS[2]
    assert found.documents(question, room=6) == ""


def test_passages_are_whole_sentences() -> None:
    assert passages("One two. Three four. Five six seven eight nine.", 4) == [
        "One two. Three four.",
        "Five six seven eight nine.",
    ]
    assert pieces_of(DOCUMENTS[:2], Retrieval(unit=Retrieval.PASSAGE, passage_words=2)) == [
        "The fen is red.",
        "The tor is blue.",
        "It sings.",
    ]
    assert pieces_of(DOCUMENTS, Retrieval()) == DOCUMENTS


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8), st.text(max_size=40), st.integers(1, 5))
def test_any_text_can_be_searched_and_nothing_is_lost(texts: list[str], query: str, top_k: int) -> None:
    found = index(texts, top_k=top_k)
    best = found.best(query)
    assert len(best) <= top_k
    assert len(set(best)) == len(best)
    pieces = [Piece(text, i) for i, text in enumerate(texts)]
    assert read(stored(pieces)) == pieces


@given(st.text(max_size=200), st.integers(1, 10))
def test_passages_hold_every_word(text: str, most: int) -> None:
    assert " ".join(passages(text, most)).split() == text.split()
