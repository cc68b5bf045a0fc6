"""Local: the same in other words (Lampinen et al. 2025, section 2, sentence-level augmentation)."""

from services.augmenter.strategies.base import Strategy, each_alone

strategy = Strategy("rephrase", "one document", each_alone)
