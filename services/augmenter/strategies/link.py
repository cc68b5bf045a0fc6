"""Global: what follows from a document together with the rest (document-level augmentation)."""

from services.augmenter.strategies.base import Strategy, each_among_all

strategy = Strategy("link", "all documents of the group", each_among_all)
