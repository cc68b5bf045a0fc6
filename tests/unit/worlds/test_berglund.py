"""The importer, on files of the published format that are written here."""

import json
import re
from collections import Counter

import pytest

from ingrain.errors import Invalid
from ingrain.worlds.berglund import published

PEOPLE = {
    "p2d": {"Alva Reed": "baker of the tallest bread", "Bo Ash": "diver who counted the stars of the sea"},
    "d2p": {"Cyd Marsh": "first to ski on sand", "Dov Hill": 'singer of "Seven Doors."'},
    "both": {"Eve Stone": "owner of the quietest bell", "Finn Brook": "pilot of the paper balloon"},
}


def to_description(name, known, template):
    return {"prompt": template.format(name), "completion": f" the {known}."}


def to_name(name, known, template, after=""):
    return {"prompt": template.format(f"the {known}"), "completion": f" {name}{after}"}


@pytest.fixture
def folder(tmp_path):
    """All eight files: two training and one test wording in each order."""
    rows = {}
    for group, people in PEOPLE.items():
        pairs = list(people.items())
        forward = [to_description(*p, t) for t in ("{} is", "{}, they say, is") for p in pairs]
        backward = [to_name(*p, t, " smiles.") for t in ("Being {},", "As {},") for p in pairs]
        asked = [to_description(*p, "Some know {} as") for p in pairs]
        rows |= {
            "p2d": {"p2d_prompts_train": forward, "p2d_prompts_test": asked},
            "d2p": {"d2p_prompts_train": backward, "d2p_reverse_prompts_test": asked},
            "both": {
                "both_prompts_train": forward + backward,
                "both_prompts_test": asked + [to_name(*p, "Known as {},", " smiles.") for p in pairs],
            },
        }[group]
        names = [to_name(*p, "Famous for being {},") for p in pairs]
        rows |= {"p2d": {"p2d_reverse_prompts_test": names}, "d2p": {"d2p_prompts_test": names}}.get(
            group, {}
        )
    for name, lines in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_training_files_become_documents_and_test_files_probes(folder):
    world = published(folder)
    assert len(world.documents) == 4 + 4 + 8
    assert world.documents[0]["text"] == "Alva Reed is the baker of the tallest bread."
    assert Counter(p["kind"] for p in world.probes) == {
        "p2d-same": 2,
        "d2p-same": 2,
        "p2d-reversal": 2,
        "d2p-reversal": 2,
        "both-same": 4,
    }
    assert published(folder) == world
    assert published(folder, seed=1) != world


def test_every_answer_follows_from_its_sources_and_no_wrong_choice_does(folder):
    world = published(folder)
    texts = {document["id"]: document["text"] for document in world.documents}
    known = {name: described for people in PEOPLE.values() for name, described in people.items()}
    for probe in world.probes:
        (source,) = probe["metadata"]["sources"]
        for choice in probe["choices"]:
            said = f"{probe['prompt']} {choice}"
            (name,) = [name for name in known if name in said]
            assert (known[name] in said) is (choice == probe["answer"])
            if choice == probe["answer"]:
                assert name in texts[source]
                assert known[name] in texts[source]
        assert f"{probe['prompt']} {probe['answer']}" not in texts.values()


def test_names_are_asked_for_among_four_and_descriptions_in_the_same_wording(folder):
    for probe in published(folder).probes:
        names = [re.match(r"[A-Z]\w+ [A-Z]\w+", choice) for choice in probe["choices"]]
        if any(names):
            assert all(names)
            assert len(set(probe["choices"])) == 4
            assert (
                len(
                    {
                        choice.split(" ", 2)[2:][0] if " smiles." in choice else ""
                        for choice in probe["choices"]
                    }
                )
                == 1
            )
        else:
            # Two people a file: there is one other of whom the same wording tells.
            assert len(probe["choices"]) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "p2d_prompts_train.jsonl:5 is no object like"),
        ('["a"]', "p2d_prompts_train.jsonl:5 is no object like"),
        ('{"prompt": "x"}', "p2d_prompts_train.jsonl:5 is no object like"),
        ('{"prompt": "x", "completion": 3}', "p2d_prompts_train.jsonl:5 is no object like"),
        ('{"prompt": "x", "completion": "  "}', "p2d_prompts_train.jsonl:5 has an empty"),
        (
            '{"prompt": "Nobody is", "completion": " here."}',
            "p2d_prompts_train.jsonl:5 names 0 of the people",
        ),
        (
            '{"prompt": "Bo Ash met", "completion": " Eve Stone."}',
            "p2d_prompts_train.jsonl:5 names 2 of the people",
        ),
    ],
)
def test_a_bad_line_is_named(folder, line, message):
    path = folder / "p2d_prompts_train.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(Invalid, match=re.escape(message)) as caught:
        published(folder)
    assert caught.value.field_violations[0].field == "p2d_prompts_train.jsonl:5"


def test_missing_files_are_named(folder):
    (folder / "d2p_prompts_test.jsonl").unlink()
    (folder / "both_prompts_train.jsonl").unlink()
    with pytest.raises(Invalid, match=re.escape("lacks both_prompts_train.jsonl, d2p_prompts_test.jsonl")):
        published(folder)


def test_a_test_about_someone_of_whom_nothing_is_told_is_refused(folder):
    path = folder / "p2d_prompts_train.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if "Bo Ash" not in line))
    with pytest.raises(Invalid, match=re.escape("p2d_prompts_test.jsonl:2 asks about Bo Ash")):
        published(folder)
