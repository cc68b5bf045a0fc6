"""What is minimised (legend: N targets, K tokens that a teacher keeps for each, V vocabulary). Needs torch."""

import torch

from services.trainer.distillation import Teacher


def distillation_loss(logits_NV: torch.Tensor, teacher: Teacher, temperature: float) -> torch.Tensor:
    """KL(teacher || student) in nats at the temperature, summed over the targets, times temperature squared.

    All tokens that the teacher did not keep are one class, whose share both of them have. The factor keeps gradients as large as at
    temperature 1 (Hinton et al. 2015, section 2). With as many kept tokens as there are, this is the whole divergence.
    """
    logprobs_NV = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
    top_NK = logprobs_NV.gather(-1, teacher.top_ids_NK)
    divergence = (teacher.top_logprobs_NK.exp() * (teacher.top_logprobs_NK - top_NK)).sum()
    if top_NK.shape[-1] < logprobs_NV.shape[-1]:
        others_N = logprobs_NV.scatter(-1, teacher.top_ids_NK, -torch.inf).logsumexp(dim=-1)
        share_N = teacher.rest_logprob_N.exp()
        # Where nothing is left its logarithm is no number, and its share is 0.
        known_N = teacher.rest_logprob_N.nan_to_num(neginf=0.0)
        divergence = divergence + (share_N * (known_N - others_N)).sum()
    return divergence * temperature**2
