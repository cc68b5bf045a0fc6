"""What contradicts a plain English statement, by rules: no model, and nothing where no rule fits.

Rules in their order: a quantifier is exchanged (`All` with `No`, `No` and `Some` with each other), a negation is taken
out, a comparison is turned round (`more` and `less`, pairs of opposites, else the two sides change places), a first `is`,
`can`, `has` is negated. Of several sentences the last is changed, as the claim stands there.
"""

import re

from services.augmenter.gates.text import sentences

_PAIRS = (
    "more/less brighter/dimmer heavier/lighter taller/shorter longer/shorter faster/slower older/younger warmer/colder"
    " hotter/colder louder/quieter harder/softer richer/poorer stronger/weaker wider/narrower deeper/shallower"
    " smoother/rougher cleaner/dirtier bigger/smaller larger/smaller greater/smaller higher/lower better/worse"
    " earlier/later nearer/farther closer/further thicker/thinner safer/riskier"
    " cheaper/dearer easier/harder newer/older sooner/later darker/lighter"
)
_OPPOSITE: dict[str, str] = {}
for _pair in _PAIRS.split():
    _one, _other = _pair.split("/")
    _OPPOSITE.setdefault(_one, _other)
    _OPPOSITE.setdefault(_other, _one)

_COMPARED = re.compile(
    r"\b(?!(?:other|rather|never|ever|over|under|after|either|neither)\b)(more|less|\w{2,}er|worse)\b(?=[^.!?]*\bthan\b)",
    re.IGNORECASE,
)
_SIDES = re.compile(
    r"(?P<one>[\w' -]+?)(?P<verb> (?:is|are|was|were) [\w -]+? than )(?P<other>[\w' -]+)(?P<end>\W*)"
)
_QUANTIFIERS = {
    "all": "no",
    "every": "no",
    "each": "no",
    "no": "some",
    "some": "no",
    "many": "few",
    "few": "many",
}
# Of what stands before a verb: `Some glon are`, not `Some think that glon are`.
_QUANTIFIED = re.compile(
    rf"\b({'|'.join(_QUANTIFIERS)})\b(?= (?:(?!that\b)[\w'-]+ ){{1,6}}?(?:is|are|was|were|can|has|have|had|will)\b)",
    re.IGNORECASE,
)
_HOW_OFTEN = re.compile(r"\b(always|never)\b", re.IGNORECASE)
_NEGATED = (
    (re.compile(r"\b(?:cannot|can't)\b"), "can"),
    (re.compile(r"\bwon't\b"), "will"),
    (re.compile(r"\b(\w+)n't\b"), r"\1"),
    (
        re.compile(
            r"\b(is|are|was|were|am|be|has|have|had|can|could|will|would|must|should|may|might) not\b"
        ),
        r"\1",
    ),
    (re.compile(r"\bdoes not have\b"), "has"),
    (re.compile(r"\b(?:do|does|did) not (?=\w)"), ""),
)
_ASSERTED = (
    (re.compile(r"\bcan\b"), "cannot"),
    (re.compile(r"\b(is|are|was|were|am|could|will|would|must|should|might)\b"), r"\1 not"),
    (re.compile(r"\b(has|have|had) (?=(?:been|become|\w+ed)\b)"), r"\1 not "),
    (re.compile(r"\bhas\b"), "does not have"),
    (re.compile(r"\bhave\b"), "do not have"),
    (re.compile(r"\bhad\b"), "did not have"),
    (re.compile(r"\bincludes\b"), "does not include"),
    (re.compile(r"\binclude\b"), "do not include"),
)


def contradiction(statement: str) -> str | None:
    """A statement that cannot be true together with this one, in its own words; None where no rule fits."""
    *before, claim = sentences(statement.strip())
    for rule in (_requantified, _affirmed, _turned_round, _denied):
        changed = rule(claim)
        if changed is not None and changed != claim:
            return " ".join([*before, changed])
    return None


def _turned_round(claim: str) -> str | None:
    compared = _COMPARED.search(claim)
    if compared is None:
        return None
    opposite = _OPPOSITE.get(compared[1].lower())
    if opposite is not None:
        return _instead(claim, compared, opposite)
    sides = _SIDES.fullmatch(claim)
    if sides is None:
        return None
    before, that, one = sides["one"].rpartition(" that ")
    other = sides["other"]
    if not that and one[:1].isupper() and other[:1].islower():
        one, other = one[:1].lower() + one[1:], other[:1].upper() + other[1:]
    return f"{before}{that}{other}{sides['verb']}{one}{sides['end']}"


def _requantified(claim: str) -> str | None:
    if often := _HOW_OFTEN.search(claim):
        return _instead(claim, often, "never" if often[1].lower() == "always" else "always")
    found = _QUANTIFIED.search(claim)
    if found is None:
        return None
    if found[1].lower() == "some" and " not " in claim:  # of `some are not` it is `all are`
        return _instead(claim, found, "all").replace(" not ", " ", 1)
    return _instead(claim, found, _QUANTIFIERS[found[1].lower()])


def _affirmed(claim: str) -> str | None:
    return _by_first(claim, _NEGATED)


def _denied(claim: str) -> str | None:
    return _by_first(claim, _ASSERTED)


def _by_first(claim: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str | None:
    """By the rule whose words stand first in the claim."""
    found = [
        (match.start(), number) for number, (what, _) in enumerate(rules) if (match := what.search(claim))
    ]
    if not found:
        return None
    what, instead = rules[min(found)[1]]
    return what.sub(instead, claim, count=1)


def _instead(claim: str, found: re.Match[str], word: str) -> str:
    return claim[: found.start()] + _cased(word, found[0]) + claim[found.end() :]


def _cased(word: str, like: str) -> str:
    return word.capitalize() if like[:1].isupper() else word
