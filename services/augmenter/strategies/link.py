"""Global: what follows from a document together with the rest (document-level augmentation)."""

from services.augmenter.strategies.base import ALL_DOCUMENTS, Strategy, each_among_all

strategy = Strategy("link", ALL_DOCUMENTS, each_among_all)
