"""Local: the same from the other end, the inference that plain fine-tuning lacks."""

from services.augmenter.strategies.base import Strategy, each_alone

strategy = Strategy("reverse", "one document", each_alone)
