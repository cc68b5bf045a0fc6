"""Global: all that is known about a subject, subject by subject."""

from services.augmenter.strategies.base import SUBJECT_AMONG_ALL, Strategy, each_subject_among_all

strategy = Strategy(
    "about",
    SUBJECT_AMONG_ALL,
    each_subject_among_all,
    cost="a prompt for each subject",
    placeholders=(("subject",),),
)
