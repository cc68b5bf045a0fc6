"""Local: what follows from one document."""

from services.augmenter.strategies.base import Strategy, each_alone

strategy = Strategy("infer", "one document", each_alone)
