"""What documents are about, by counting words: no model, no list of names.

Where documents fall into groups, a subject is a word that occurs in one group only and in at most a quarter of that
group's documents (but two are always allowed). Without groups it is a word in at most a twentieth of the documents (but at least two), or a
capitalised one that does not begin a sentence.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"[^\W\d_]{3,}")
_INNER_CAPITAL = re.compile(r"(?<![.!?:]\s)(?<!^)\b[A-Z][^\W\d_]{2,}", re.MULTILINE)


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def subjects(texts: Sequence[str], groups: Sequence[str]) -> list[list[str]]:
    """For each document its subjects, in the order in which they occur."""
    per_group: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: Counter[str] = Counter(groups)
    for text, group in zip(texts, groups, strict=True):
        per_group[group].update(set(words(text)))
    if len(per_group) > 1:
        spread = Counter(word for counter in per_group.values() for word in counter)

        def chosen(word: str, group: str) -> bool:
            return spread[word] == 1 and per_group[group][word] <= max(2, sizes[group] / 4)
    else:
        limit = max(2, len(texts) / 20)
        capitalised = {word for text in texts for word in _INNER_CAPITAL.findall(text)}

        def chosen(word: str, group: str) -> bool:
            return word in capitalised or per_group[group][word] <= limit

    return [
        list(dict.fromkeys(word for word in words(text) if chosen(word, group)))
        for text, group in zip(texts, groups, strict=True)
    ]


def shuffled(texts: Sequence[str], groups: Sequence[str], seed: int) -> list[str]:
    """The same documents with their group's subjects exchanged: right in form, false in content.

    Every subject becomes another one of its group (a derangement along a random cycle), differently in each
    document, so that no consistent renaming keeps the facts.
    """
    found = subjects(texts, groups)
    pools: dict[str, list[str]] = defaultdict(list)
    for names, group in zip(found, groups, strict=True):
        pools[group].extend(name for name in names if name not in pools[group])
    result = []
    for index, (text, group) in enumerate(zip(texts, groups, strict=True)):
        cycle = list(pools[group])
        random.Random(f"{seed}-{index}").shuffle(cycle)
        follower = dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))
        result.append(_WORD.sub(lambda match, follower=follower: follower.get(match[0], match[0]), text))
    return result
