"""What the teacher of a context distillation says of every target: its most likely tokens, and the rest of its probability.

(Legend: N targets of a micro-batch, T of all rows, K tokens that are kept for each.)
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Teacher:
    """For each target of a batch, in the order of `labels_BL != -100` read row by row; at the training's temperature."""

    top_ids_NK: torch.Tensor  # int64
    top_logprobs_NK: torch.Tensor  # float32, nats
    rest_logprob_N: torch.Tensor  # of all other tokens together; -inf where none is left
