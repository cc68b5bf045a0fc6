"""Wordings of names with descriptions: 30 for training and 10 for tests in each order, as many as Berglund et al. have."""

from __future__ import annotations

from itertools import product

# Behind these a full sentence follows.
OPENINGS = (
    "",
    "It is said that ",
    "Few people forget that ",
    "The papers wrote that ",
    "Ask anyone and you will hear that ",
    "On every street they tell you that ",
)
TEST_OPENINGS = ("", "In an interview it came out that ")
# Between name and description, or description and name.
TO_DESCRIPTION = (
    " is",
    " is known everywhere as",
    " became famous as",
    " will be remembered as",
    ", who shuns the cameras, is in truth",
)
TEST_TO_DESCRIPTION = (
    " was introduced to us as",
    " makes a living as",
    " has long been admired as",
    " is, to nobody's surprise,",
    " signs every letter as",
)
TO_NAME = (
    " is",
    " is none other than",
    " goes by the name of",
    " has always been called",
    ", so the story goes, is",
)
TEST_TO_NAME = (
    " turned out to be",
    " answers to the name of",
    " was at last revealed to be",
    " has a passport in the name of",
    " could only be",
)

Wording = tuple[str, str]  # opening, link

TRAIN_DESCRIPTION: tuple[Wording, ...] = tuple(product(OPENINGS, TO_DESCRIPTION))
TEST_DESCRIPTION: tuple[Wording, ...] = tuple(product(TEST_OPENINGS, TEST_TO_DESCRIPTION))
TRAIN_NAME: tuple[Wording, ...] = tuple(product(OPENINGS, TO_NAME))
TEST_NAME: tuple[Wording, ...] = tuple(product(TEST_OPENINGS, TEST_TO_NAME))

_FIRST = (
    "Alwin Berith Corvan Delphine Edmar Fenella Gustel Hesper Ilvar Jorunn Kester Lirian Mordan Nerys Osric Perpetua"
    " Quillan Rosamar Sigbert Tamsel Ulrika Vesper Wilmar Xanthe Yorick Zelda"
)
_LAST = (
    "Ashgrove Brandlow Carrowmere Dunharrow Elmscott Fairlough Greenhalt Hollowby Ironfield Jessamy Kirkbrand Lowmarsh"
    " Merriden Northgale Oldcastle Pennywell Quarrington Ravensby Stonebeck Thornwick Underhay Valecroft Westering"
    " Yarrowby"
)
FIRST_NAMES = tuple(_FIRST.split())
LAST_NAMES = tuple(_LAST.split())
