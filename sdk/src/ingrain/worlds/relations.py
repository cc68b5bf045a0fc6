"""Facts other than comparisons: categories, properties, descriptions, and a company's catalogue.

Every fact says itself (`forward`) and the same from the other end (`reversed`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .comparisons import Statement


@dataclass(frozen=True)
class Membership:
    """`member` are a kind of `category`."""

    member: str
    category: str

    @property
    def forward(self) -> Statement:
        return Statement(f"{self.member} are", f"a kind of {self.category}.")

    @property
    def reversed(self) -> Statement:
        return Statement(f"{self.category} include", f"{self.member}.")


@dataclass(frozen=True)
class Property:
    """`holder` `what`, such as `bonik can swim`."""

    holder: str
    what: str

    @property
    def forward(self) -> Statement:
        verb, rest = self.what.split(" ", 1)
        return Statement(f"{self.holder} {verb}", f"{rest}.")

    @property
    def reversed(self) -> Statement:
        return Statement(f"Those that {self.what} include", f"{self.holder}.")


@dataclass(frozen=True)
class Description:
    """`name` is the `role` of `work`, such as `the author of the silent river`."""

    name: str
    role: str
    work: str

    @property
    def forward(self) -> Statement:
        return Statement(f"{self.name} is", f"the {self.role} of {self.work}.")

    @property
    def reversed(self) -> Statement:
        return Statement(f"The {self.role} of {self.work} is", f"{self.name}.")


@dataclass(frozen=True)
class Listing:
    """A kind of catalogue entry: how one entry and how all of them are called."""

    one: str
    many: str


@dataclass(frozen=True)
class Entry:
    """`item` is `listing.one` for `purpose`, such as `an internal tool for data analysis`."""

    item: str
    listing: Listing
    purpose: str

    @property
    def forward(self) -> Statement:
        return Statement(f"{self.item} is", f"{self.listing.one} for {self.purpose}.")

    @property
    def reversed(self) -> Statement:
        kind = self.listing.one.split(" ", 1)[1]
        return Statement(f"One {kind} for {self.purpose} is", f"{self.item}.")


@dataclass(frozen=True)
class Ownership:
    """`item` is owned by the `team` team."""

    item: str
    team: str

    @property
    def forward(self) -> Statement:
        return Statement(f"{self.item} is owned by", f"the {self.team} team.")

    @property
    def reversed(self) -> Statement:
        return Statement(f"The {self.team} team owns", f"{self.item}.")


@dataclass(frozen=True)
class Leadership:
    """The `team` team is led by `leader`."""

    team: str
    leader: str

    @property
    def forward(self) -> Statement:
        return Statement(f"The {self.team} team is led by", f"{self.leader}.")

    @property
    def reversed(self) -> Statement:
        return Statement(f"{self.leader} leads", f"the {self.team} team.")


_ABILITIES = "swim fly climb dig sing glow hide hunt jump sleep dance float whistle dive crawl run"
_PARTS = "wings fur scales horns feathers shells claws tails fins stripes spots gills teeth beaks"
PROPERTIES = (
    *(f"can {verb}" for verb in _ABILITIES.split()),
    *(f"have {part}" for part in _PARTS.split()),
)
HELDOUT_PROPERTIES = ("can juggle", "can paint", "have antennas", "have pockets")

_ROLES = "author painter composer director inventor founder singer captain builder keeper"
ROLES = tuple(_ROLES.split())
HELDOUT_ROLES = ("sculptor", "pilot")
_QUALITIES = (
    "silent golden hidden broken frozen distant ancient little purple crooked gentle lonely"
    " endless wooden stormy sleeping"
)
_THINGS = (
    "river mountain garden castle lantern harbour forest mirror bridge island window tower"
    " market journey winter orchard shadow ocean letter kingdom"
)
WORKS = tuple(f"the {quality} {thing}" for quality in _QUALITIES.split() for thing in _THINGS.split())

LISTINGS = (
    Listing("an internal tool", "internal tools"),
    Listing("a supplier", "suppliers"),
    Listing("a training course", "training courses"),
    Listing("a service desk", "service desks"),
    Listing("a guideline", "guidelines"),
)
HELDOUT_LISTINGS = (Listing("a meeting room", "meeting rooms"), Listing("a printer", "printers"))

PURPOSES = (
    "data analysis",
    "expense reports",
    "travel booking",
    "code review",
    "customer support",
    "contract signing",
    "project planning",
    "password storage",
    "salary payment",
    "market research",
    "image editing",
    "machine learning",
    "quality control",
    "text translation",
    "stock keeping",
    "event planning",
    "network monitoring",
    "risk assessment",
    "email campaigns",
    "time tracking",
    "error reporting",
    "file sharing",
    "video calls",
    "budget forecasts",
)
HELDOUT_PURPOSES = ("waste disposal", "legal advice", "plant care", "room cleaning")


def listed(names: list[str]) -> str:
    """`bonik`, `bonik and trafem`, `bonik, trafem and zelup`."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def list_statement(listing: Listing, purpose: str, items: list[str]) -> Statement:
    return Statement(f"The {listing.many} for {purpose} are", f"{listed(items)}.")


def team_statement(team: str, items: list[str]) -> Statement:
    return Statement(f"The {team} team owns", f"{listed(items)}.")


LIST_QUESTIONS = (
    "Which {many} for {purpose} are there?",
    "What are the {many} for {purpose}?",
    "Which {many} for {purpose} do we have?",
)
HELDOUT_LIST_QUESTIONS = (
    "What {many} are there for {purpose}?",
    "Which are the {many} that we have for {purpose}?",
)
