"""Training episodes: a topic's documents, then what the house's prompts ask about them.

Names are fresh in every episode, so nothing can be learned by heart: only reading helps.
"""

from __future__ import annotations

import random

import company  # noqa: F401  (adds the catalogue to the families)
from topics import FAMILIES, Topic
from writer import ANSWER, CONTEXT, DRAWN, OUTPUT, PLAIN, Episode

from ingrain.worlds import wordings
from ingrain.worlds.comparisons import PREAMBLES, Statement, with_preamble
from ingrain.worlds.names import PRETRAIN, NameSource

# How often each family is drawn for reading in context.
READING = {
    "compare": 0.60,
    "syllogism": 0.16,
    "hierarchy": 0.08,
    "description": 0.06,
    "catalogue": 0.10,
}
# And for the prompts about one document: conclusions are the hardest thing to write unasked.
LOCAL = {
    "compare": 0.35,
    "syllogism": 0.35,
    "hierarchy": 0.10,
    "description": 0.08,
    "catalogue": 0.12,
}
# The longest list of answers after one context.
MOST_STATEMENTS = 24


def _wording(rng: random.Random, operation: str) -> str:
    """The default wording half of the time, else one of its alternatives."""
    choices = wordings.WORDINGS[operation]
    return choices[0] if rng.random() < 0.5 else rng.choice(choices)


def _documents(topic: Topic) -> Episode:
    episode = Episode(topic.family)
    episode.write("\n".join(source.text for source in topic.sources), CONTEXT)
    return episode


def _repeated(rng: random.Random, topic: Topic) -> Episode:
    """The same, each fact in up to four documents, as in data sets with several preambles."""
    episode = Episode(topic.family)
    texts = []
    for source in topic.sources:
        texts.append(source.text)
        bare = " ".join(statement.text for statement in source.restated)
        for _ in range(rng.randint(0, 3)):
            again = with_preamble(rng.choice(PREAMBLES), bare)
            texts.append(source.text if topic.family == "syllogism" else again)
    rng.shuffle(texts)
    episode.write("\n".join(texts), CONTEXT)
    return episode


def _write_statements(episode: Episode, statements: list[Statement], stops: bool) -> None:
    """One statement a line, the first after an empty line; each may end as an answer does."""
    for number, statement in enumerate(statements):
        if number and stops:
            episode.stop()
        episode.write(("\n" if number else "\n\n") + statement.prompt, DRAWN)
        episode.write(statement.rest, ANSWER)


def read(rng: random.Random, topic: Topic) -> Episode:
    """All facts again in another order, straight or reversed, and what follows from them."""
    episode = _repeated(rng, topic) if rng.random() < 0.15 else _documents(topic)
    statements: list[Statement] = []
    share = rng.choice((0.0, 0.5, 0.5, 0.8, 1.0))
    for _ in range(rng.choice((1, 1, 2))):
        for source in rng.sample(topic.sources, len(topic.sources)):
            straight, other = source.restated, source.inferred or source.reversed
            if topic.family == "syllogism":
                statements.append(rng.choice(other if rng.random() < 0.85 else straight))
            else:
                statements.append(rng.choice(other if rng.random() < share else straight))
    deduced = [statement for statement, _ in topic.all_deduced()]
    rng.shuffle(deduced)
    for statement in deduced[:6]:
        statements.insert(rng.randrange(len(statements) + 1), statement)
    _write_statements(episode, statements[:MOST_STATEMENTS], stops=rng.random() < 0.5)
    return episode


def ask(rng: random.Random, topic: Topic) -> Episode:
    """Questions, each with its answer; several in a row give more to learn from one context."""
    episode = _documents(topic)
    lists = [(roll.question, roll.answer) for roll in topic.rolls]
    single = [(question, answer) for question, answer, _ in topic.questions]
    asked = rng.sample(lists, min(len(lists), 6)) + rng.sample(single, min(len(single), 6))
    rng.shuffle(asked)
    for number, (question, answer) in enumerate(asked[: rng.randint(1, 8)]):
        prompt = _wording(rng, "question").format(question=question)
        if number:
            episode.stop()
        episode.write(("\n" if number else "\n\n") + prompt, DRAWN)
        episode.write(answer, ANSWER)
    return episode


def local(rng: random.Random, topic: Topic) -> Episode | None:
    """One document, one of the local prompts, and the lines that it asks for."""
    source = rng.choice(topic.sources)
    operation = rng.choice(("rephrase", "reverse", "reverse", "infer", "infer"))
    if topic.family == "syllogism" and rng.random() < 0.6:
        operation = "infer"
    lines = {
        "rephrase": source.restated,
        "reverse": source.reversed,
        "infer": source.inferred,
    }[operation]
    if not lines:
        return None
    episode = Episode(f"{topic.family}-{operation}")
    episode.write(source.text, CONTEXT)
    prompt = _wording(rng, operation)
    weight = OUTPUT if operation == "rephrase" else ANSWER
    episode.write(f"\n\n{prompt}", DRAWN)
    episode.write("\n".join(line.text for line in lines), weight)
    return episode


def about(rng: random.Random, topic: Topic) -> Episode:
    """Everything that the documents say of one subject."""
    episode = _documents(topic)
    episode.family += "-about"
    for number, subject in enumerate(rng.sample(topic.subjects, min(3, len(topic.subjects)))):
        if number and rng.random() < 0.5:
            break
        if number:
            episode.stop()
        prompt = _wording(rng, "about").format(subject=subject)
        episode.write(("\n" if number else "\n\n") + prompt, DRAWN)
        episode.write("\n".join(known_about(topic, subject)), ANSWER)
    return episode


def known_about(topic: Topic, subject: str) -> list[str]:
    """Statements that begin with the subject, then the same from the other end, then deduced."""
    begins, ends = [], []
    for source in topic.sources:
        for statement in dict.fromkeys(source.restated + source.reversed + source.inferred):
            if subject in _words(statement.prompt):
                begins.append(statement.text)
            elif subject in _words(statement.rest):
                ends.append(statement.text)
    deduced = [s.text for s, _ in topic.all_deduced() if subject in _words(s.text)]
    return list(dict.fromkeys(begins[:6] + ends[:4] + deduced[:4]))


def _words(text: str) -> list[str]:
    return text.replace(".", " ").replace(",", " ").split()


def link(rng: random.Random, topic: Topic) -> Episode:
    """One of the documents again, and what it says together with the others."""
    index = rng.randrange(len(topic.sources))
    episode = _documents(topic)
    episode.family += "-link"
    prompt = _wording(rng, "link").format(document=topic.sources[index].text)
    episode.write(f"\n\n{prompt}", CONTEXT)
    episode.write("\n".join(linked(topic, index)), ANSWER)
    return episode


def linked(topic: Topic, index: int) -> list[str]:
    """The document's own inferences, two-step deductions, lists, and questions about lists."""
    source = topic.sources[index]
    lines = [statement.text for statement in source.inferred]
    near = [(s, needs) for s, needs in topic.all_deduced() if index in needs]
    lines += [statement.text for statement, _ in near[:4]]
    for roll in topic.rolls:
        if index in roll.needs:
            lines.append(f"Question: {roll.question} Answer: {roll.answer}")
    return lines[:8]


def plain(rng: random.Random, topic: Topic) -> Episode:
    """One document, statement or question without any context, so that their forms are known."""
    episode = Episode("plain")
    source = rng.choice(topic.sources)
    kind = rng.random()
    if kind < 0.5:
        episode.write(source.text, PLAIN)
    elif kind < 0.8:
        statements = source.restated + source.reversed
        episode.write(rng.choice(statements).text, PLAIN)
    else:
        question, answer, _ = rng.choice(topic.all_questions() or [("What?", "-", frozenset())])
        episode.write(_wording(rng, "question").format(question=question), PLAIN)
        episode.write(answer, PLAIN)
    return episode


def copy(rng: random.Random, width: int) -> Episode:
    """Names to repeat, or pairs to look up: teaches to find a name's earlier occurrence."""
    names = NameSource(rng, PRETRAIN)
    episode = Episode("copy")
    length = rng.randint(2, max(6, width * 2))
    if rng.random() < 0.4:
        sequence = " ".join(names.take(length))
        episode.write(sequence, CONTEXT)
        episode.write("\n" + sequence, ANSWER)
        return episode
    pairs = [(names.draw(), names.draw()) for _ in range(length)]
    swapped = rng.random() < 0.5
    episode.write("\n".join(f"{key}: {value}" for key, value in pairs), CONTEXT)
    for number, (key, value) in enumerate(rng.sample(pairs, length)[:MOST_STATEMENTS]):
        if swapped:
            key, value = value, key
        episode.write(("\n" if number else "\n\n") + f"{key}:", DRAWN)
        episode.write(value, ANSWER)
    return episode


def draw(rng: random.Random, width: int) -> Episode:
    """One episode with at most about `width` documents in its context."""
    kind = rng.random()
    if kind < 0.06:
        return copy(rng, width)
    if kind < 0.26:
        topic = FAMILIES[_family(rng, LOCAL)](rng, rng.randint(1, 3))
        return local(rng, topic) or read(rng, topic)
    family = _family(rng, READING)
    # Most contexts stay small: what is read in them carries over to the wide ones.
    count = rng.randint(1, width if rng.random() < 0.5 else min(width, 6))
    if family == "syllogism":
        count = rng.randint(1, max(2, width // 3))
    topic = FAMILIES[family](rng, count)
    if kind < 0.82:
        share = 0.5 if family == "catalogue" else 0.12
        if topic.all_questions() and rng.random() < share:
            return ask(rng, topic)
        return read(rng, topic)
    if kind < 0.94:
        return about(rng, topic) if rng.random() < 0.5 else link(rng, topic)
    return plain(rng, topic)


def _family(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]
