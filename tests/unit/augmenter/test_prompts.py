"""The prompt files, and a caller's own prompts."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain import worlds
from ingrain.v1 import augmenter_pb2
from servicekit.errors import Invalid
from services.augmenter.asking import digests
from services.augmenter.custom import missing
from services.augmenter.documents import documents_of
from services.augmenter.planning import asks_of, plan
from services.augmenter.spec import require_model, resolve
from services.augmenter.strategies import DEFAULT_STRATEGIES, STRATEGIES
from services.augmenter.strategies.base import PROMPTS, filled, template, template_sha256

# As they were before there were more: who changes one loses every output that is stored under it.
SHA256 = {
    "default/rephrase": "bd58ad360a4d",
    "default/reverse": "007ac4b08edd",
    "default/infer": "a8020f4dae89",
    "default/link": "d808172ee01b",
    "default/about": "77ac6b456b51",
    "heldout/rephrase": "93ccf71c5f7c",
    "heldout/reverse": "df9a0725f81d",
    "heldout/infer": "e54396d93e04",
    "heldout/link": "0f3df5d43d88",
    "heldout/about": "d284be093c84",
}
OUTPUTS_SHA256 = "58ecef5532dc206a3de20163bb29f5528c9c3e6ea0fa2120aa2787ace382d640"
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "augmentation.md"
DOCUMENTS = [
    {"id": "a", "text": "the bralo is bigger than the cemid.", "metadata": {}},
    {"id": "b", "text": "the dovun is older than the bralo.", "metadata": {}},
]


def spec_of(**given: Any) -> augmenter_pb2.AugmentationSpec:
    return augmenter_pb2.AugmentationSpec(dataset="d", model="m", **given)


def prompt(
    strategy: str, text: str, sees: str = "", structured: bool = False
) -> augmenter_pb2.PromptTemplate:
    number = augmenter_pb2.PromptTemplate.Sees.Value(sees) if sees else 0
    return augmenter_pb2.PromptTemplate(strategy=strategy, text=text, sees=number, structured=structured)


def asked(given: augmenter_pb2.AugmentationSpec, name: str) -> list[str]:
    spec = resolve(given)
    return [ask.prompt for ask in asks_of(spec, name, documents_of(DOCUMENTS, spec))]


def test_every_strategy_that_asks_has_a_prompt_that_it_can_ask() -> None:
    asking = {name for name, strategy in STRATEGIES.items() if strategy.asks}
    assert {path.stem for path in (PROMPTS / "default").iterdir()} == asking
    assert {path.stem for path in (PROMPTS / "heldout").iterdir()} == set(DEFAULT_STRATEGIES)
    for folder in PROMPTS.iterdir():
        for name in asking:
            text = template(folder.name, name)
            assert text == text.strip()
            assert not missing(STRATEGIES[name], text)


def test_each_strategy_knows_its_name_and_asks_or_makes() -> None:
    for name, strategy in STRATEGIES.items():
        assert strategy.name == name
        assert (strategy.asks is None) is (strategy.rows is not None)
        assert bool(strategy.most_follow_ups) is (strategy.then is not None)
    assert resolve(spec_of()).strategies == DEFAULT_STRATEGIES


def test_the_documentation_has_every_strategy_as_it_is() -> None:
    found = [line for line in DOCUMENTATION.read_text().splitlines() if line.startswith("| `")]
    rows = [
        f"| `{name}` | {strategy.sees} | {f'`{name}.txt`' if strategy.asks else 'none'} | {strategy.source} | {strategy.cost} |"
        for name, strategy in STRATEGIES.items()
    ]
    assert found[: len(rows)] == rows


def test_prompts_are_those_that_the_bundled_model_knows_and_does_not_know() -> None:
    for name in DEFAULT_STRATEGIES:
        local = "{document}\n\n" if name in ("rephrase", "reverse", "infer") else ""
        assert template("default", name) == local + worlds.WORDINGS[name][0]
        assert template("heldout", name) in {local + wording for wording in worlds.HELDOUT_WORDINGS[name]}


def test_stored_outputs_of_the_five_are_found_under_the_digests_that_they_ever_had() -> None:
    assert {name: template_sha256(*name.split("/"))[:12] for name in SHA256} == SHA256
    spec = resolve(spec_of(group_key="world", seed=3))
    documents = documents_of(
        [{**row, "metadata": {"world": f"w{place}"}} for place, row in enumerate(DOCUMENTS)], spec
    )
    found = digests(spec, "m", documents, plan(spec, documents))
    assert len(found) == 24
    assert hashlib.sha256("".join(found).encode()).hexdigest() == OUTPUTS_SHA256


def test_what_the_held_out_set_does_not_word_is_worded_as_ever() -> None:
    assert template("heldout", "summarize") == template("default", "summarize")
    assert template("heldout", "infer") != template("default", "infer")


@given(st.text(), st.text())
def test_what_is_put_in_is_not_filled_again(document: str, subject: str) -> None:
    text = filled("{document}|{subject}|{other}", document=document, subject=subject)
    assert text == f"{document}|{subject}|{{other}}"


def test_a_prompt_of_ones_own_replaces_that_of_a_strategy() -> None:
    given_spec = spec_of(
        strategies=["rephrase", "link"],
        prompts=[
            prompt("link", "Alone: {document}", "ONE_DOCUMENT"),
            prompt("rephrase", "Again, {document}"),
        ],
    )
    assert asked(given_spec, "rephrase") == [f"Again, {row['text']}" for row in DOCUMENTS]
    spec = resolve(given_spec)
    ask, _ = asks_of(spec, "link", documents_of(DOCUMENTS, spec))
    assert (ask.prompt, ask.context_group) == (f"Alone: {DOCUMENTS[0]['text']}", None)
    text = spec.prompt("rephrase")
    assert text.prompt_set == "custom"
    assert text.sha256 == hashlib.sha256(b"Again, {document}").hexdigest()
    assert spec.prompt_sets() == "custom"
    other = spec_of(strategies=["masked", "rephrase", "link"])
    assert resolve(other).prompt_sets() == "default"
    assert resolve(other).prompt("rephrase").sha256 == template_sha256("default", "rephrase")
    assert spec.fingerprint("d", "m") != resolve(other).fingerprint("d", "m")


def test_a_strategy_by_prompt_alone_sees_what_it_says() -> None:
    given_spec = spec_of(
        strategies=["limericks", "facts", "who"],
        prompts=[
            prompt("who", "Who is {subject}?", "SUBJECT_AMONG_ALL"),
            prompt("limericks", "{document}\nAs a limerick:", "ONE_DOCUMENT"),
            prompt("facts", "Beside the rest: {document}", "ALL_DOCUMENTS", structured=True),
        ],
    )
    assert asked(given_spec, "limericks")[1] == f"{DOCUMENTS[1]['text']}\nAs a limerick:"
    assert "Who is bralo?" in asked(given_spec, "who")
    spec = resolve(given_spec)
    found = plan(spec, documents_of(DOCUMENTS, spec))
    assert list(dict.fromkeys(item.strategy for item in found)) == ["limericks", "facts", "who"]
    assert {item.strategy for item in found if item.ask.structured} == {"facts"}
    assert {item.strategy for item in found if item.ask.context_group is not None} == {"facts", "who"}


@pytest.mark.parametrize(
    ("field", "reason", "strategies", "prompts"),
    [
        ("spec.strategies[1]", "UNKNOWN_STRATEGY", ["infer", "nonsense"], []),
        ("spec.prompts[0].sees", "NO_SIGHT", ["own"], [prompt("own", "{document}")]),
        ("spec.prompts[0].text", "NO_PLACEHOLDER", ["own"], [prompt("own", "{subject}", "ALL_DOCUMENTS")]),
        (
            "spec.prompts[0].text",
            "NO_PLACEHOLDER",
            ["own"],
            [prompt("own", "{document}", "SUBJECT_AMONG_ALL")],
        ),
        ("spec.prompts[0].text", "NO_PLACEHOLDER", ["infer"], [prompt("infer", "It follows:")]),
        (
            "spec.prompts[0].text",
            "NO_PLACEHOLDER",
            ["active_reading"],
            [prompt("active_reading", "{document}")],
        ),
        (
            "spec.prompts[0].text",
            "NO_PLACEHOLDER",
            ["active_reading"],
            [prompt("active_reading", "{document}\n---\n{document}")],
        ),
        (
            "spec.prompts[1].strategy",
            "DUPLICATE_PROMPT",
            ["infer"],
            [prompt("infer", "{document}"), prompt("infer", "So: {document}")],
        ),
        ("spec.prompts[0].strategy", "UNUSED_PROMPT", ["infer"], [prompt("reverse", "{document}")]),
        ("spec.prompts[0].strategy", "UNUSED_PROMPT", [], [prompt("own", "{document}", "ONE_DOCUMENT")]),
        (
            "spec.prompts[0].strategy",
            "RESERVED_NAME",
            ["original"],
            [prompt("original", "{document}", "ONE_DOCUMENT")],
        ),
        ("spec.prompts[0].strategy", "ASKS_NO_MODEL", ["masked"], [prompt("masked", "{document}")]),
    ],
)
def test_a_prompt_that_could_never_be_asked_is_named(
    field: str, reason: str, strategies: list[str], prompts: list[augmenter_pb2.PromptTemplate]
) -> None:
    with pytest.raises(Invalid) as caught:
        resolve(spec_of(strategies=strategies, prompts=prompts))
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_an_unknown_set_is_said_with_the_known_ones() -> None:
    with pytest.raises(Invalid) as caught:
        resolve(spec_of(prompt_set="nonsense"))
    assert caught.value.field == "spec.prompt_set"
    assert "default, heldout" in caught.value.message


@given(st.text(max_size=200))
def test_any_text_is_a_prompt_or_refused_by_name(text: str) -> None:
    given_spec = spec_of(strategies=["own"], prompts=[prompt("own", text, "ONE_DOCUMENT")])
    if "{document}" in text:
        assert resolve(given_spec).prompt("own").text == text
    else:
        with pytest.raises(Invalid) as caught:
            resolve(given_spec)
        assert caught.value.field == "spec.prompts[0].text"


@pytest.mark.parametrize(
    ("given_spec", "needed"),
    [
        ({"strategies": ["masked", "reverse_words", "identity_bridge"]}, False),
        ({"strategies": ["masked", "infer"]}, True),
        ({"strategies": ["masked"], "target_tokens": 5}, True),
        (
            {
                "strategies": ["masked"],
                "gates": augmenter_pb2.QualityGates(likelier_than_contradiction=True),
            },
            True,
        ),
        ({}, True),
    ],
)
def test_a_model_must_be_named_where_one_is_asked(given_spec: dict[str, Any], needed: bool) -> None:
    without = augmenter_pb2.AugmentationSpec(dataset="d", **given_spec)
    require_model(spec_of(**given_spec), resolve(spec_of(**given_spec)))
    if not needed:
        require_model(without, resolve(without))
        return
    with pytest.raises(Invalid) as caught:
        require_model(without, resolve(without))
    assert caught.value.field == "spec.model"
