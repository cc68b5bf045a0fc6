"""OpenAI's bodies -> requests of inference, and its messages -> OpenAI's answers: pure functions."""

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingrain.v1 import inference_pb2 as pb
from servicekit.errors import Invalid
from servicekit.identity import OPERATOR, Caller
from services.gateway.http.bodies import refusal
from services.gateway.http.chat import Chat, ChatBody
from services.gateway.http.completions import CompletionBody, Completions
from services.gateway.http.generating import seeds, usage_of
from services.gateway.http.logprobs import Completed, of_chat, spelled
from services.gateway.http.names import model_name, parent_of, short

PARENT = "projects/p"


def completions(**fields: Any) -> Completions:
    body = {"model": "m", "prompt": "a b"} | fields
    return Completions(CompletionBody.model_validate_json(json.dumps(body)), PARENT)


def chat(**fields: Any) -> Chat:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]} | fields
    return Chat(ChatBody.model_validate_json(json.dumps(body)), PARENT)


def test_completions_defaults_are_openais() -> None:
    form = completions()
    wanted = form.request
    assert (wanted.parent, wanted.model) == (PARENT, "projects/p/models/m")
    assert (wanted.max_tokens, wanted.temperature, wanted.top_p) == (16, 1.0, 1.0)
    assert (wanted.logprobs, wanted.prompt_logprobs, wanted.top_logprobs) == (False, False, 0)
    assert form.inputs == [pb.Input(text="a b")]


def test_a_seed_is_drawn_where_none_is_given_and_chance_plays() -> None:
    assert completions().request.seed != completions().request.seed
    assert completions(temperature=0).request.seed == 0
    assert completions(seed=-5).request.seed == -5


@pytest.mark.parametrize(
    ("prompt", "inputs"),
    [
        (["a", "b"], [pb.Input(text="a"), pb.Input(text="b")]),
        ([1, 2], [pb.Input(token_ids=pb.TokenIds(ids=[1, 2]))]),
        ([[1], [2, 3]], [pb.Input(token_ids=pb.TokenIds(ids=ids)) for ids in ([1], [2, 3])]),
    ],
)
def test_forms_of_prompts(prompt: Any, inputs: list[pb.Input]) -> None:
    assert completions(prompt=prompt).inputs == inputs
    assert completions(prompt=prompt, n=2).inputs == [one for one in inputs for _ in range(2)]


def test_the_prompts_tokens_are_asked_for_where_they_are_shown() -> None:
    assert not completions(echo=True).request.prompt_logprobs  # the text is known
    assert completions(echo=True, prompt=[1]).request.prompt_logprobs
    assert completions(echo=True, max_tokens=0).request.prompt_logprobs
    both = completions(echo=True, logprobs=3).request
    assert (both.prompt_logprobs, both.logprobs, both.top_logprobs) == (True, True, 3)
    assert not completions(logprobs=3).request.prompt_logprobs


def test_top_p_of_nothing_is_the_likeliest_token() -> None:
    assert 0 < completions(top_p=0).request.top_p < 1e-6


def test_chat_takes_either_name_of_the_longest_answer() -> None:
    assert chat().request.max_tokens == 1024
    assert chat(max_tokens=3).request.max_tokens == 3
    assert chat(max_tokens=3, max_completion_tokens=5).request.max_tokens == 5


def test_what_a_chat_answer_must_keep_to() -> None:
    schema = {"type": "object", "properties": {"ä": {"type": "string"}}}
    assert chat(response_format={"type": "text"}).request.json_schema == ""
    assert json.loads(chat(response_format={"type": "json_object"}).request.json_schema) == {"type": "object"}
    given = {"type": "json_schema", "json_schema": {"name": "n", "strict": False, "schema": schema}}
    assert json.loads(chat(response_format=given).request.json_schema) == schema


@pytest.mark.parametrize(
    ("field", "completion", "conversation"),
    [
        ("prompts", "prompt", "messages"),
        ("inputs[3].text", "prompt", "messages"),
        ("inputs[0].chat.messages[2].content", "prompt", "messages[2].content"),
        ("max_tokens", "max_tokens", "max_tokens"),
        ("top_logprobs", "logprobs", "top_logprobs"),
        ("prompt_logprobs", "echo", "prompt_logprobs"),
        ("json_schema", "json_schema", "response_format"),
        ("parent", "model", "model"),
        ("stop[2]", "stop", "stop"),
    ],
)
def test_our_fields_by_the_callers_words(field: str, completion: str, conversation: str) -> None:
    assert Completions.param_of(field) == completion
    assert Chat.param_of(field) == conversation


def token(
    text: bytes, logprob: float | None = -1.0, top: tuple[tuple[bytes, float], ...] = ()
) -> pb.TokenLogprob:
    likeliest = [pb.TopLogprob(token=other, logprob=value) for other, value in top]
    return pb.TokenLogprob(token=text, logprob=logprob, top=likeliest)


def test_lists_of_completions() -> None:
    """A mark in front that the text has not, a character in three tokens, an end that the text has not."""
    lists = Completed()
    prompt = [token(b"<s>", None), token(b"a"), token(b"\xe2"), token(b"\x82"), token(b"\xac"), token(b" b")]
    lists.read("a€ b", prompt)
    lists.write([token(b"c", -2.0, ((b"d", -0.5), (b"c", -2.0))), token(b"</s>")])
    found = lists.take()
    assert found["tokens"] == ["<s>", "a", "bytes:\\xe2", "bytes:\\x82", "bytes:\\xac", " b", "c", "</s>"]
    assert found["text_offset"] == [0, 0, 1, 1, 1, 2, 4, 5]
    assert found["token_logprobs"] == [None, -1, -1, -1, -1, -1, -2, -1]
    assert found["top_logprobs"][0] is None
    assert found["top_logprobs"][6] == {"d": -0.5, "c": -2.0}
    assert found["top_logprobs"][5] == {" b": -1.0}
    assert lists.take()["tokens"] == []


def test_a_space_that_the_vocabulary_puts_in_front() -> None:
    lists = Completed()
    lists.read("ab c", [token(b" ab"), token(b" c")])
    assert lists.take()["text_offset"] == [0, 2]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8), st.randoms())
def test_offsets_find_each_token(words: list[str], chance: Any) -> None:
    """However the bytes of a text are cut."""
    text, raw = "".join(words), "".join(words).encode()
    cuts = sorted({0, len(raw), *(chance.randrange(len(raw)) for _ in range(5))})
    tokens = [token(raw[start:end]) for start, end in itertools.pairwise(cuts)]
    read, written = Completed(), Completed()
    read.read(text, tokens)
    written.write(tokens)
    lists = read.take()
    assert lists == written.take()
    assert lists["text_offset"] == [len(raw[:start].decode(errors="ignore")) for start in cuts[:-1]]


def test_chat_tokens_with_their_bytes() -> None:
    found = of_chat([token("€".encode(), -0.5, ((b"\xe2", -0.1),))])
    assert found == {
        "content": [
            {
                "token": "€",
                "logprob": -0.5,
                "bytes": [226, 130, 172],
                "top_logprobs": [{"token": "\\xe2", "logprob": pytest.approx(-0.1), "bytes": [226]}],
            }
        ],
        "refusal": None,
    }
    assert spelled(b"a") == "a"


def test_a_prompt_counts_once_however_often_it_is_continued() -> None:
    one = pb.Generation(token_count=2, prompt_token_count=5, cached_token_count=3)
    response = pb.GenerateResponse(generations=[one] * 6, usage=pb.Usage(prompt_token_count=30))
    found = usage_of(response, 3)
    assert (found["prompt_tokens"], found["completion_tokens"], found["total_tokens"]) == (10, 12, 22)
    assert found["prompt_tokens_details"] == {"cached_tokens": 6}
    elsewhere = pb.GenerateResponse(
        generations=[pb.Generation(token_count=2)], usage=pb.Usage(prompt_token_count=7)
    )
    assert usage_of(elsewhere, 1)["prompt_tokens"] == 7


def test_streams_of_equal_prompts_have_seeds_of_their_own() -> None:
    form = completions(prompt=["a", "b", "a"], n=2, seed=9, stream=True)
    found = seeds(form)
    assert found[0] == found[2] == 9
    assert len(set(found)) == 4
    assert found[2:4] == found[:2]
    assert all(-(1 << 63) <= seed < 1 << 63 for seed in found)


def test_a_stream_of_completions_piece_by_piece() -> None:
    form = completions(stream=True, logprobs=0)
    assert form.opening(0) is None
    first = form.part(0, pb.StreamGenerateResponse(text="ab", tokens=[token(b"a"), token(b"b")]))
    last = form.part(
        0, pb.StreamGenerateResponse(text="c", tokens=[token(b"c")], finish_reason=pb.Generation.STOP)
    )
    assert first[0]["logprobs"]["text_offset"] == [0, 1]
    assert last[0]["logprobs"]["text_offset"] == [2]
    assert [first[0]["finish_reason"], last[0]["finish_reason"]] == [None, "stop"]
    assert form.part(0, pb.StreamGenerateResponse()) == []


def refused(kind: type, body: Any) -> Invalid:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate_json(body if isinstance(body, str) else json.dumps(body))
    return refusal(caught.value)


def test_refusals_name_the_place() -> None:
    assert refused(CompletionBody, {"prompt": "a"}).field == "model"
    assert refused(CompletionBody, {"model": "m", "prompt": {"a": 1}}).field == "prompt"
    assert "list of token ids" in refused(CompletionBody, {"model": "m", "prompt": [1, "a"]}).message
    assert refused(CompletionBody, {"model": "m", "prompt": "a", "top_p": math.nan}).field == "top_p"
    turns = [{"role": "user", "content": "a"}, {"role": 4}]
    assert refused(ChatBody, {"model": "m", "messages": turns}).field == "messages[1].role"
    assert refused(ChatBody, "{").reason == "BAD_JSON"
    assert refused(ChatBody, "[]").reason == "BAD_JSON"


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=5), max_size=5))
def test_any_further_field_is_taken_or_refused_by_name(fields: dict[str, Any]) -> None:
    known = set(CompletionBody.model_fields)
    extra = {name: value for name, value in fields.items() if name not in known}
    body = CompletionBody.model_validate_json(json.dumps({"model": "m", "prompt": "a"} | extra))
    asking = {name for name, value in extra.items() if value is not None} - CompletionBody.known
    if not asking:
        body.check_extra()
        return
    with pytest.raises(Invalid) as caught:
        body.check_extra()
    assert caught.value.field in asking


def test_names() -> None:
    user = Caller("user", "k", "projects/mine")
    assert parent_of(user, None) == "projects/mine"
    assert parent_of(OPERATOR, None) == "projects/default"
    assert parent_of(OPERATOR, "demo") == parent_of(OPERATOR, "projects/demo") == "projects/demo"
    for bad in ("a/b", "projects/", "Ä", "x" * 80, "a\n"):
        with pytest.raises(Invalid):
            parent_of(OPERATOR, bad)
    for name in ("projects/q/models/m", "icl:d@m", "auto:s", "bot@prod", "projects/p/aliases/bot"):
        assert model_name(PARENT, name) == name
    assert model_name(PARENT, "m") == "projects/p/models/m"
    for full, wanted in (
        ("projects/p/models/m", "m"),
        ("projects/q/models/m", "projects/q/models/m"),
        ("projects/p/aliases/bot@prod", "bot@prod"),
        ("projects/p/aliases/bot", "projects/p/aliases/bot"),
    ):
        assert short(PARENT, full) == wanted
