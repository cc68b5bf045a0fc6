"""Local: the same in other words (Lampinen et al. 2025, section 2, sentence-level augmentation)."""

from services.augmenter.strategies.base import ONE_DOCUMENT, Strategy, each_alone

strategy = Strategy("rephrase", ONE_DOCUMENT, each_alone)
