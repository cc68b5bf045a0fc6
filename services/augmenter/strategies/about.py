"""Global: all that is known about a subject, subject by subject."""

from services.augmenter.strategies.base import Strategy, each_subject_among_all

strategy = Strategy("about", "all documents of the group", each_subject_among_all)
