"""Probes and documents are read as inference reads them: its own renderer is the measure."""

import itertools

import numpy as np
import pytest
from transformers import AutoTokenizer

from servicekit.errors import Invalid
from services.inference.engine.render import Renderer as InferenceRenderer
from services.trainer.encoding import encode
from services.trainer.packing import IGNORED
from services.trainer.probing import packed_probes
from services.trainer.rendering import Renderer

PROBES = [
    {
        "id": "1",
        "kind": "k",
        "prompt": "who feeds the heron?",
        "choices": ["Alva", "the river", " Bo"],
        "answer": "Alva",
    },
    {
        "id": "2",
        "kind": "k",
        "prompt": "the mill stands\n",
        "choices": ["north", "south"],
        "answer": ["north", "south"],
    },
]
FORMS = pytest.mark.parametrize(("chat", "bos"), [(False, True), (False, False), (True, True)])


@pytest.fixture
def tokenizer(build_checkpoint):
    return lambda chat, bos: AutoTokenizer.from_pretrained(
        build_checkpoint("llama", chat_template=chat, bos=bos)
    )


def segments(arrays):
    """By choice its tokens and where its labels begin, read out of the packed rows."""
    found = {}
    for r, count in enumerate(arrays["token_count_R"]):
        starts = [*np.flatnonzero(arrays["position_ids_RL"][r, :count] == 0), count]
        for start, end in itertools.pairwise(starts):
            labelled = np.flatnonzero(arrays["labels_RL"][r, start:end] != IGNORED)
            choices = set(arrays["choice_RL"][r, start:end][labelled].tolist())
            assert len(choices) == 1
            assert (arrays["choice_RL"][r, start:end] >= 0).sum() == len(labelled)
            found[choices.pop()] = (arrays["input_ids_RL"][r, start:end].tolist(), int(labelled[0]))
    return found


@FORMS
def test_choices_are_what_inference_scores(tokenizer, chat, bos):
    one = tokenizer(chat, bos)
    arrays, count = packed_probes(one, "d", PROBES, 32, 256)
    expected = [
        (rendered.ids, rendered.begin)
        for probe in PROBES
        for rendered in InferenceRenderer(one, chat).choices(None, probe["prompt"], probe["choices"])
    ]
    assert segments(arrays) == dict(enumerate(expected))
    assert count == 2
    assert arrays["probe_C"].tolist() == [0, 0, 0, 1, 1]
    assert arrays["right_C"].tolist() == [1, 0, 0, 1, 1]


def test_a_probe_longer_than_training_rows_still_fits(tokenizer):
    arrays, _ = packed_probes(tokenizer(False, True), "d", PROBES, 4, 256)
    assert arrays["input_ids_RL"].shape[1] > 4
    with pytest.raises(Invalid, match=r"Row 1 of d has .* more than the model's window of 4"):
        packed_probes(tokenizer(False, True), "d", PROBES, 4, 4)


@pytest.mark.parametrize(
    "rows", [[PROBES[0], {"id": "3", "kind": "l", "question": "all?", "answers": ["a"]}], []]
)
def test_probes_without_choices_are_refused(tokenizer, rows):
    with pytest.raises(Invalid, match=r"Row 1 of d is no probe with choices|d has no probes"):
        packed_probes(tokenizer(False, True), "d", rows, 32, 256)


@FORMS
@pytest.mark.parametrize("documents", ["", "Alva feeds it.\nThe mill stands."])
def test_prompts_with_answers_are_what_inference_reads(tokenizer, chat, bos, documents):
    """With documents: as the teacher of a distillation reads them."""
    one = tokenizer(chat, bos)
    renderer = Renderer(one, dataset="d", splitting="document", train_on_prompt=False)
    for probe in PROBES:
        for choice in probe["choices"]:
            if chat and choice.startswith(" "):
                continue  # a template may strip it
            messages = [
                {"role": "user", "content": probe["prompt"]},
                {"role": "assistant", "content": choice},
            ]
            (sequence,) = encode(one, [renderer.conversation(0, messages, documents)])
            (expected,) = InferenceRenderer(one, chat).choices(documents or None, probe["prompt"], [choice])
            assert list(sequence.tokens) == [*expected.ids, one.eos_token_id]
            assert [label == IGNORED for label in sequence.labels].index(False) == expected.begin
