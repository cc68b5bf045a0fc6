import json
import re

import pytest

from ingrain.worlds import GENERATORS, sized
from ingrain.worlds.deny import ENGLISH
from ingrain.worlds.names import BENCHMARK, FIRST_PARTS, PRETRAIN, SECOND_PARTS, pool, pool_of

SEEDS = (0, 1, 7)
worlds = pytest.mark.parametrize(
    ("generator", "seed"), [(name, seed) for name in GENERATORS for seed in SEEDS]
)


@worlds
def test_a_seed_gives_the_same_world_again_and_another_seed_another(generator, seed):
    assert sized(generator, seed) == sized(generator, seed)
    assert sized(generator, seed).documents != sized(generator, seed + 1).documents


@worlds
def test_rows_have_the_platforms_shape(generator, seed):
    world = sized(generator, seed)
    ids = [row["id"] for row in [*world.documents, *world.probes]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", identifier) for identifier in ids)
    json.dumps([world.documents, world.probes])
    for document in world.documents:
        assert set(document) == {"id", "text", "metadata"}
        assert document["text"] == document["text"].strip()
        assert document["metadata"]["world"]
    for probe in world.probes:
        if probe["kind"] == "list":
            assert set(probe) == {"id", "kind", "question", "answers", "metadata"}
            assert len(set(probe["answers"])) == len(probe["answers"]) >= 1
        else:
            assert set(probe) == {"id", "kind", "prompt", "choices", "answer", "metadata"}


@worlds
def test_answers_are_among_the_choices_and_choices_differ(generator, seed):
    for probe in sized(generator, seed).probes:
        if probe["kind"] == "list":
            continue
        choices, answer = probe["choices"], probe["answer"]
        assert len(set(choices)) == len(choices) >= 2
        assert all(choice == choice.strip() for choice in choices)
        assert set([answer] if isinstance(answer, str) else answer) <= set(choices)
        assert probe["prompt"] == probe["prompt"].strip()


@worlds
def test_no_document_states_a_probe_verbatim_except_recall(generator, seed):
    world = sized(generator, seed)
    text = "\n".join(document["text"] for document in world.documents)
    for probe in world.probes:
        if probe["kind"] in ("forward", "premise", "purpose", "list") or probe["kind"].endswith("-same"):
            continue
        for choice in probe["choices"]:
            assert f"{probe['prompt']} {choice}" not in text


@worlds
def test_recall_probes_are_stated_verbatim(generator, seed):
    world = sized(generator, seed)
    text = "\n".join(document["text"] for document in world.documents)
    for probe in world.probes:
        if probe["kind"] in ("forward", "premise") or probe["kind"].endswith("-same"):
            assert f"{probe['prompt']} {probe['answer']}" in text


@worlds
def test_every_document_named_by_a_probe_exists(generator, seed):
    world = sized(generator, seed)
    stated = {
        (document["metadata"]["world"], fact)
        for document in world.documents
        for fact in document["metadata"]["fact"].split(",")
    }
    for probe in world.probes:
        for fact in probe["metadata"]["fact"].split(","):
            assert (probe["metadata"]["world"], fact) in stated


@worlds
def test_names_come_from_the_benchmark_pool_only(generator, seed):
    benchmark, pretrain = set(pool(BENCHMARK)), set(pool(PRETRAIN))
    found = set()
    for document in sized(generator, seed).documents:
        found |= set(re.findall(r"[a-z]+", document["text"]))
    assert found & benchmark
    assert not found & pretrain
    shaped = {a + b for a in FIRST_PARTS for b in SECOND_PARTS}
    strangers = {word for word in found & shaped if pool_of(word) != BENCHMARK}
    assert strangers <= ENGLISH


@worlds
def test_sources_are_documents_that_say_what_the_probe_is_about(generator, seed):
    world = sized(generator, seed)
    documents = {document["id"]: document for document in world.documents}
    for probe in world.probes:
        sources = [documents[source] for source in probe["metadata"]["sources"]]
        assert sources
        assert len({document["id"] for document in sources}) == len(sources)
        said = {fact for document in sources for fact in document["metadata"]["fact"].split(",")}
        assert set(probe["metadata"]["fact"].split(",")) <= said
        assert {document["metadata"]["world"] for document in sources} == {probe["metadata"]["world"]}
