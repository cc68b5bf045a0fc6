"""Local: what follows from one document."""

from services.augmenter.strategies.base import ONE_DOCUMENT, Strategy, each_alone

strategy = Strategy("infer", ONE_DOCUMENT, each_alone)
