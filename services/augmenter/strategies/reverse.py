"""Local: the same from the other end, the inference that plain fine-tuning lacks."""

from services.augmenter.strategies.base import ONE_DOCUMENT, Strategy, each_alone

strategy = Strategy("reverse", ONE_DOCUMENT, each_alone)
