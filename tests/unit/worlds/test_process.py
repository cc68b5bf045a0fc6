"""The invented procedure as data: its rules are read from the documents and applied anew, with numbers."""

import math
import re
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingrain.worlds.process import process

POINTS = (0.53, 0.94, 1.27)
TERM = r"(?:(\d+) )?((?:sin|cos|exp|log)\((\d+)x\)|x\^(\d+))"


def symbolic(text):
    """A rule's side as Python of n and x."""
    return (
        re.sub(r"^(n|\(n \+ 1\)|\(2n\)) ", r"\1 * ", text)
        .replace("(2n)", "(2 * n)")
        .replace("(nx)", "(n * x)")
        .replace("(n + 1)x", "(n + 1) * x")
        .replace("^", "**")
    )


def value(text, x):
    """A concrete function's value."""
    python = re.sub(r"(\d+) (?=[a-z])", r"\1 * ", text).replace("^", "**")
    return eval(re.sub(r"\((\d+)x\)", r"(\1 * x)", python), {**vars(math), "x": x})


def rules_of(texts):
    """head -> formula for terms (`sin`, `x`, ...) and operator -> formula of F and G."""
    terms, combined = {}, {}
    for text in texts:
        if match := re.search(r"he (\w+) of f (.) g is \(the \1 of (.)\) (.) \(the \1 of (.)\)\.", text):
            combined[match[2]] = f"{match[3].upper()} {match[4]} {match[5].upper()}"
        elif match := re.search(r"he \w+ of (x\^n|(\w+)\(nx\)) is (.*)\.", text):
            terms[match[2] or "x"] = symbolic(match[3])
    return terms, combined


def applied(text, rules, x):
    """The value at x of what the rules make of a function; KeyError where a rule is missing."""
    terms, combined = rules
    made = []
    for _, term, inner, power in re.findall(TERM, text):
        head = re.match(r"[a-z]+", term)[0]
        made.append(eval(terms[head], {**vars(math), "n": int(inner or power), "x": x}))
    if len(made) == 1:
        return made[0]
    operator = re.search(r" ([-+*]) ", text)[1]
    return eval(combined[operator], {"F": made[0], "G": made[1]})


def close(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def check(world):
    texts = {document["id"]: document["text"] for document in world.documents}
    rules = rules_of(texts.values())
    assert (len(rules[0]), len(rules[1])) == (5, 3)
    worked = Counter()
    for text in texts.values():
        if match := re.fullmatch(r"The \w+ of ([^fg].*) is (.*)\.", text):
            if "nx" in text or "^n" in text:
                continue
            assert all(close(value(match[2], x), applied(match[1], rules, x)) for x in POINTS), text
            worked[shape(match[1])] += 1
    for probe in world.probes:
        asked = re.fullmatch(r"The \w+ of (.*) is", probe["prompt"])[1]
        support = rules_of(texts[source] for source in probe["metadata"]["sources"])
        assert len(probe["metadata"]["sources"]) == 3
        assert len(set(probe["choices"])) == len(probe["choices"])
        for choice in probe["choices"]:
            right = all(close(value(choice[:-1], x), applied(asked, support, x)) for x in POINTS)
            assert right is (choice == probe["answer"]), (probe, choice)
        assert f"{probe['prompt']} {probe['answer']}" not in texts.values()
        assert (shape(asked) in worked) is (probe["kind"] == "known-combination"), probe
    return worked


def shape(text):
    """The combination: heads and operator."""
    return tuple(re.findall(r"sin|cos|exp|log|x\^|(?<= )[-+*](?= )", text))


@pytest.mark.parametrize("seed", range(3))
def test_every_result_follows_from_the_rules_and_held_out_combinations_are_new(seed):
    world = process(seed)
    worked = check(world)
    assert Counter(p["kind"] for p in world.probes) == {"known-combination": 180, "new-combination": 60}
    assert len([s for s in worked if len(s) == 3]) == 45
    assert set(worked.values()) == {8}
    assert len(world.documents) == 3 * 8 + 5 * 8 + 45 * 8


def test_new_combinations_are_of_parts_that_are_known():
    world = process(0)
    worked = check(world)
    new = {shape(p["prompt"][: -len(" is")]) for p in world.probes if p["kind"] == "new-combination"}
    assert len(new) == 15
    heads = ("sin", "cos", "exp", "log", "x^")
    assert len(new | {s for s in worked if len(s) == 3}) == len(
        [1 for a, _, b in product(heads, "+-*", heads) if a != b]
    )
    assert all(any(part in s for s in worked) for combination in new for part in combination)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 30))
def test_any_seed(seed, heldout):
    check(process(seed, "small", heldout=heldout))
