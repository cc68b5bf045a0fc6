"""Probabilities of what is written and of what was read; outputs that keep to a schema."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.engine.replica import Engine
from services.inference.engine.sampling import Vocabulary
from services.inference.wire import ChatPrompt, ContextRef, GenerateCall, Raw, Refused

DOCUMENTS = "the bralo is bigger than the cemid.\na dovun was seen near the old bridge, twice."


def plain_logprobs(tiny: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        model = AutoModelForCausalLM.from_pretrained(tiny.folder)
        return model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
async def test_prompts_and_outputs_come_with_the_models_own_probabilities(
    stored: Callable[[str], Any], name: str
) -> None:
    tiny = stored(name)
    call = GenerateCall(
        tiny.ref, None, [Raw("the cemid is old.")], max_tokens=6, temperature=1.5, logprobs=True, top_logprobs=3,
        prompt_logprobs=True,
    )  # fmt: skip
    answer: Any = await Engine(tiny.settings).generate(call)
    (one,) = answer.continuations
    tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
    prompt = tokenizer("the cemid is old.")["input_ids"]
    ids = prompt + [token.id for token in one.tokens]
    expected_TV = plain_logprobs(tiny, ids)
    assert [token.id for token in one.prompt_tokens] == prompt
    assert one.prompt_tokens[0].logprob is None
    assert b"".join(token.text for token in one.prompt_tokens) == b"the cemid is old."
    for place, token in enumerate([*one.prompt_tokens, *one.tokens][1:], start=1):
        assert token.logprob == pytest.approx(float(expected_TV[place - 1, token.id]), abs=2e-4)
        likeliest = expected_TV[place - 1].topk(3)
        assert [other.logprob for other in token.top] == pytest.approx(likeliest.values.tolist(), abs=2e-4)
    assert len(one.tokens) == one.token_count


async def test_only_the_prompts_probabilities_may_be_wanted(
    engine: Engine, stored: Callable[[str], Any]
) -> None:
    prompts = [Raw("the cemid is old. " * 20), Raw("which tools")]
    answer: Any = await engine.generate(
        GenerateCall(stored("llama").ref, None, prompts, max_tokens=0, prompt_logprobs=True)
    )
    assert [one.text for one in answer.continuations] == ["", ""]
    assert [len(one.prompt_tokens) for one in answer.continuations] == [
        one.prompt_count for one in answer.continuations
    ]
    assert answer.spent.generated_tokens == 0


async def test_a_stream_brings_each_token_once(engine: Engine, stored: Callable[[str], Any]) -> None:
    call = GenerateCall(
        stored("llama").ref,
        ContextRef("s", DOCUMENTS),
        ["which"],
        max_tokens=20,
        temperature=1.0,
        logprobs=True,
    )
    whole: Any = await engine.generate(call)
    pieces: list[Any] = [piece async for piece in engine.stream(call)]
    assert [t.id for piece in pieces for t in piece.tokens] == [t.id for t in whole.continuations[0].tokens]


@pytest.mark.parametrize("name", ["chat", "llama"])
async def test_a_conversation_is_read_as_the_template_says(stored: Callable[[str], Any], name: str) -> None:
    tiny = stored(name)
    engine = Engine(tiny.settings)
    chat = ChatPrompt((("system", "old"), ("user", "the bridge"), ("assistant", "is"), ("user", "which?")))
    texts = {
        "chat": f"<system>\nold<eos>\n<user>\n{DOCUMENTS}\n\nthe bridge<eos>\n<assistant>\nis<eos>\n<user>\nwhich?<eos>\n"
        "<assistant>\n",
        "llama": f"{DOCUMENTS}\n\nold\n\nthe bridge\n\nis\n\nwhich?",
    }
    call = GenerateCall(tiny.ref, ContextRef("chat", DOCUMENTS), [chat], max_tokens=8)
    answers: list[Any] = [await engine.generate(call) for _ in range(2)]
    expected: Any = await engine.generate(GenerateCall(tiny.ref, None, [Raw(texts[name])], max_tokens=8))
    assert answers[0].texts == answers[1].texts == expected.texts
    # What stands before the documents, a system's message, does not keep them from being shared.
    assert answers[1].spent.cached_tokens > answers[1].spent.prompt_tokens / 2


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "many": {"type": "integer"},
        "is": {"enum": ["a", "b"]},
    },
    "required": ["name", "is"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_an_output_keeps_to_its_schema(
    stored: Callable[[str], Any], name: str, temperature: float
) -> None:
    tiny = stored(name)
    call = GenerateCall(
        tiny.ref,
        None,
        ["the", "which"],
        max_tokens=80,
        temperature=temperature,
        json_schema=json.dumps(SCHEMA),
    )
    answer: Any = await Engine(tiny.settings).generate(call)
    ended = [one for one in answer.continuations if one.finished]
    assert temperature == 0.0 or ended
    for one in ended:
        jsonschema.validate(json.loads(one.text), SCHEMA)


@pytest.mark.parametrize("schema", ['{"type": "nothing"}', '{"$ref": "https://elsewhere/schema"}', "[]"])
async def test_a_schema_that_cannot_be_kept_to_is_refused(
    engine: Engine, stored: Callable[[str], Any], schema: str
) -> None:
    answer = await engine.generate(GenerateCall(stored("llama").ref, None, ["the"], json_schema=schema))
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.field) == ("BAD_SCHEMA", "json_schema")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_the_bytes_of_tokens_join_to_the_text(tiny: Any, text: str) -> None:
    tokenizer = tiny.make_tokenizer()
    vocabulary = Vocabulary(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert b"".join(map(vocabulary.bytes_of, ids)) == text.encode()
