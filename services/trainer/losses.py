"""What is minimised, and the output head only where there are targets (legend: N targets, K tokens that a teacher keeps for each,
V vocabulary, D width).

Logits are the most memory of a small model's training and a good part of its time. Here a part of them exists at a time, at most
`MOST_LOGIT_BYTES`, and none where no label is. The loss is taken inside the head's own forward, so that whatever hangs there (ZeRO
stage 3 gathers weights, peft adds adapters) goes on working. Needs torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from services.trainer.distillation import Teacher
from services.trainer.tokens import Targets, rounded

MOST_LOGIT_BYTES = 128 << 20
# So many are worked on at a time in float32 by a processor: they stay in its cache.
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Finish:
    """What an architecture does with its head's logits: `softcap` tanh(x / softcap), then times `factor`."""

    softcap: float | None = None
    factor: float = 1.0

    @staticmethod
    def of(config: Any) -> "Finish":
        """By the names that transformers' configurations have for it."""
        factor = getattr(config, "logit_scale", None)
        if factor is None:
            factor = 1 / (getattr(config, "logits_scaling", None) or 1.0)
        return Finish(getattr(config, "final_logit_softcapping", None), factor)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits * self.factor if self.factor != 1 else logits


def learns_at_targets(model: Any) -> bool:
    """Lets `model(targets=..., **inputs)` give the loss, summed over the targets; without `targets` it is as it was. Where the
    model's logits are not just what its head makes of its last hidden states, all logits are made, and the answer is False."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    head, body = causal.get_output_embeddings(), causal.base_model
    finish = Finish.of(causal.config.get_text_config())
    known = head is not None and body is not causal and is_head_of(causal, body, head, finish)
    plain = causal.forward
    if known:
        head.forward = head_forward(head, finish)

    def forward(*args: Any, targets: Targets | None = None, **inputs: Any) -> Any:
        if targets is None:
            return plain(*args, **inputs)
        if not known:
            logits = plain(*args, **inputs).logits.flatten(0, 1)[targets.at_N].float()
            if targets.each:
                return F.cross_entropy(logits, targets.ids_N, reduction="none")
            return loss_of(logits, targets.ids_N, targets.teacher)
        hidden = body(*args, **inputs).last_hidden_state
        return head(hidden.flatten(0, 1)[targets.at_N], targets=targets)

    causal.forward = forward
    return known


@torch.no_grad()
def is_head_of(causal: Any, body: Any, head: Any, finish: Finish) -> bool:
    """Whether the two together give the model's own logits, for a few tokens."""
    training = causal.training
    causal.eval()
    ids = torch.arange(1, 9, device=next(causal.parameters()).device)[None]
    try:
        own = causal(input_ids=ids, use_cache=False).logits.float()
        made = finish(head(body(input_ids=ids, use_cache=False).last_hidden_state))
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False
    finally:
        causal.train(training)
    return own.shape == made.shape and torch.allclose(own, made, atol=1e-4, rtol=1e-3)


def head_forward(head: Any, finish: Finish) -> Callable[..., torch.Tensor]:
    plain = head.forward
    # A head with adapters or with weights of 4 bits is called, whatever it does; a plain one is reckoned with.
    linear = type(head) is torch.nn.Linear

    def forward(hidden_ND: torch.Tensor, *, targets: Targets | None = None) -> torch.Tensor:
        if targets is None:
            return plain(hidden_ND)
        if linear and targets.teacher is None and not targets.each:
            return HeadLoss.apply(hidden_ND, head.weight, head.bias, targets.ids_N, finish)
        vocabulary = (
            head.out_features if hasattr(head, "out_features") else head.get_base_layer().out_features
        )
        reckon = each_loss if targets.each else in_parts
        dtype = number_format(hidden_ND)

        def logits_of(part: torch.Tensor) -> torch.Tensor:
            return finish(plain(filled(part, dtype))[: len(part)])

        return reckon(logits_of, hidden_ND, targets, vocabulary)

    return forward


def each_loss(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    hidden_ND: torch.Tensor,
    targets: Targets,
    vocabulary: int,
) -> torch.Tensor:
    """[N], cross-entropy whatever a teacher says: for measuring, where nothing is kept for a backward pass."""
    rows = max(1, MOST_LOGIT_BYTES // (4 * vocabulary))
    parts = zip(hidden_ND.split(rows), targets.ids_N.split(rows), strict=True)
    return torch.cat([F.cross_entropy(logits_of(part), ids, reduction="none") for part, ids in parts])


def in_parts(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    hidden_ND: torch.Tensor,
    targets: Targets,
    vocabulary: int,
) -> torch.Tensor:
    """The loss, part by part; in the backward pass each part's logits are made again."""

    def loss(part: torch.Tensor, start: int) -> torch.Tensor:
        end = start + len(part)
        teacher = targets.teacher and sliced(targets.teacher, start, end)
        return loss_of(logits_of(part), targets.ids_N[start:end], teacher)

    rows = max(1, MOST_LOGIT_BYTES // (4 * vocabulary))
    if len(hidden_ND) <= rows:
        return loss(hidden_ND, 0)
    parts = [
        checkpoint(loss, hidden_ND[start : start + rows], start, use_reentrant=False)
        for start in range(0, len(hidden_ND), rows)
    ]
    return torch.stack(parts).sum()


def loss_of(logits_NV: torch.Tensor, ids_N: torch.Tensor, teacher: Teacher | None) -> torch.Tensor:
    if teacher is not None:
        return distillation_loss(logits_NV, teacher, teacher.temperature)
    return F.cross_entropy(logits_NV, ids_N, reduction="sum")


def sliced(teacher: Teacher, start: int, end: int) -> Teacher:
    return Teacher(
        teacher.top_ids_NK[start:end],
        teacher.top_logprobs_NK[start:end],
        teacher.rest_logprob_N[start:end],
        teacher.temperature,
    )


class HeadLoss(torch.autograd.Function):
    """Cross-entropy in nats behind a linear head, summed over the targets. The forward pass makes the gradients too, while it has
    the logits, so that they are made once and never kept; what it keeps is as large as the hidden states and the head's weights."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        bias_V: torch.Tensor | None,
        ids_N: torch.Tensor,
        finish: Finish,
    ) -> torch.Tensor:
        dtype = number_format(weight_VD)
        to_hidden, to_weight, to_bias = ctx.needs_input_grad[:3]
        with torch.autocast(hidden_ND.device.type, enabled=False):
            hidden, weight = hidden_ND.to(dtype), weight_VD.to(dtype)
            d_hidden = torch.empty_like(hidden) if to_hidden else None
            d_weight = None
            d_bias = torch.zeros_like(bias_V, dtype=torch.float32) if to_bias else None
            loss = torch.zeros((), dtype=torch.float64, device=hidden.device)
            rows = max(1, MOST_LOGIT_BYTES // (dtype.itemsize * len(weight)))
            for start in range(0, len(hidden), rows):
                ids = ids_N[start : start + rows]
                part = filled(hidden[start : start + rows], dtype)
                logits = F.linear(part, weight, None if bias_V is None else bias_V.to(dtype))
                loss += to_gradients(logits[: len(ids)], ids, finish)
                logits[len(ids) :] = 0
                if d_hidden is not None:
                    d_hidden[start : start + rows] = torch.mm(logits, weight)[: len(ids)]
                if to_weight:
                    d_part = torch.mm(logits.t(), part)
                    # Of several parts the sum is taken in float32.
                    d_weight = d_part.to(weight_VD.dtype) if d_weight is None else d_weight.add_(d_part)
                if d_bias is not None:
                    d_bias += logits.sum(0, dtype=torch.float32)
            if to_weight and d_weight is None:
                d_weight = torch.zeros_like(weight_VD)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        ctx.dtypes = (hidden_ND.dtype, None if bias_V is None else bias_V.dtype)
        return loss.float()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        hidden_dtype, bias_dtype = ctx.dtypes
        return (
            None if d_hidden is None else d_hidden.to(hidden_dtype).mul(grad),
            # In place: it is nobody else's, and may be gigabytes.
            None if d_weight is None else d_weight.mul_(grad),
            None if d_bias is None else (d_bias * grad).to(bias_dtype),
            None,
            None,
        )


def number_format(tensor: torch.Tensor) -> torch.dtype:
    """In which it is multiplied: autocast's, else its own."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def filled(rows_ND: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """With zeros behind them to one of few numbers of rows, where a processor multiplies them in bfloat16 (kernels.py)."""
    few = rows_ND.device.type == "cpu" and dtype == torch.bfloat16
    return F.pad(rows_ND, (0, 0, 0, rounded(len(rows_ND)) - len(rows_ND))) if few else rows_ND


def to_gradients(logits_NV: torch.Tensor, ids_N: torch.Tensor, finish: Finish) -> torch.Tensor:
    """The summed loss; in the logits' place afterwards stands its gradient with respect to them."""
    loss = torch.zeros((), dtype=torch.float64, device=logits_NV.device)
    whole = len(logits_NV) if logits_NV.is_cuda else max(1, BLOCK_BYTES // (4 * logits_NV.shape[1]))
    for start in range(0, len(logits_NV), whole):
        block, ids = logits_NV[start : start + whole], ids_N[start : start + whole, None]
        capped = block.float()
        if finish.softcap is not None:
            capped = torch.tanh(capped / finish.softcap)
        scores = capped * ((finish.softcap or 1.0) * finish.factor)
        wanted_N = scores.gather(1, ids)
        most_N = scores.amax(1, keepdim=True)
        shares = scores.sub_(most_N).exp_()
        sum_N = shares.sum(1, keepdim=True)
        loss += (sum_N.log() + most_N - wanted_N).sum(dtype=torch.float64)
        shares.div_(sum_N).scatter_add_(1, ids, torch.full_like(sum_N, -1.0))
        if finish.softcap is not None:
            shares.mul_(1 - capped.square())
        block.copy_(shares.mul_(finish.factor) if finish.factor != 1 else shares)
    return loss


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
