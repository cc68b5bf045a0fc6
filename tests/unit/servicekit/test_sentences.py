"""Sentences: where they end, with offsets, in time that grows with the text and not with its square."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servicekit.sentences import sentence_spans, sentences

TEXTS = st.lists(
    st.sampled_from(
        [" ", "\n", ".", "A", "Dr", "x", "e.g", "(", "!", '"', "\t", "Prof", "\r", "No", "\u00a0"]
    )
).map("".join)


def test_abbreviations_end_no_sentence() -> None:
    assert sentences("Dr. A. Who (cf. Smith) came. So did Prof. Z! No. 3 stayed.") == [
        "Dr. A. Who (cf. Smith) came.",
        "So did Prof. Z!",
        "No. 3 stayed.",
    ]
    assert sentences('He said "stop." \n Then e.g.\nnothing') == ['He said "stop."', "Then e.g.", "nothing"]
    assert sentences("xNo. 3") == ["xNo.", "3"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS)
def test_spans_cover_all_that_is_no_space(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join(text[a:b] for a, b in spans).split() == "".join(sentences(text)).split()
    rest, position = "", 0
    for start, end in spans:
        assert start < end
        assert text[start:end] == text[start:end].strip()
        rest += text[position:start]
        position = end
    assert not (rest + text[position:]).strip()


@pytest.mark.parametrize("text", [" " * 500_000, "A. " * 200_000, "\n" * 500_000, "x " * 200_000])
def test_time_grows_with_the_text(text: str) -> None:
    started = time.process_time()
    sentence_spans(text)
    assert time.process_time() - started < 5
