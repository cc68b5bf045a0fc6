"""Low-rank adapters by peft, and their forward and backward passes without what plain ones do not need.

(Legend: T tokens, I and O numbers in and out, R rank.) Needs torch and peft.
"""

import types
from typing import Any

import torch
import torch.nn.functional as F

from services.trainer.config import TrainingConfig
from services.trainer.refusals import CannotTrain


def with_adapter(model: Any, config: TrainingConfig) -> Any:
    """The base with adapters that do nothing yet; only they are trained."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.target_modules) or "all-linear",
        use_dora=config.use_dora,
        use_rslora=config.use_rslora,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise CannotTrain("UNSUPPORTED_MODEL", f"peft cannot add these adapters: {error}") from error
    # With ZeRO stage 3 weights are there only while peft's own modules are called.
    if config.zero_stage < 3 and not config.use_dora and not config.lora_dropout:
        for module in adapted.modules():
            quicken(module)
    return adapted


def quicken(module: Any) -> None:
    """Of a linear layer with one plain adapter: the products are added where they are made. Others stay as they are."""
    from peft.tuners.lora import Linear

    plain = (
        type(module) is Linear
        and type(module.base_layer) is torch.nn.Linear
        and list(module.lora_A) == ["default"]
        and not module.lora_variant
        and module.lora_A["default"].bias is None
        and module.lora_B["default"].bias is None
        and not module.fan_in_fan_out
    )
    if not plain:
        return
    peft_forward = module.forward

    def forward(self: Any, x: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        if rest or named or self.disable_adapters or self.merged or not torch.is_grad_enabled():
            return peft_forward(x, *rest, **named)
        down, up = self.lora_A["default"].weight, self.lora_B["default"].weight
        base = self.base_layer
        return Adapted.apply(x, base.weight, base.bias, down, up, self.scaling["default"])

    module.forward = types.MethodType(forward, module)


class Adapted(torch.autograd.Function):
    """x W' + scaling (x A') B' + bias with W frozen. Under autocast in its number format, as peft's own is."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        down_RI: torch.Tensor,
        up_OR: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        with torch.autocast(device, enabled=False):
            x_TI = x.flatten(0, -2).to(dtype)
            weight, down, up = weight_OI.to(dtype), down_RI.to(dtype), up_OR.to(dtype)
            middle_TR = F.linear(x_TI, down)
            out_TO = F.linear(x_TI, weight, None if bias_O is None else bias_O.to(dtype))
            out_TO.addmm_(middle_TR, up.t(), alpha=scaling)
        # Weights in the format of the product are made again: beside float32 ones they would be half as much again.
        ctx.save_for_backward(x_TI, weight_OI, down, up, middle_TR)
        ctx.scaling, ctx.x_dtype = scaling, x.dtype
        ctx.adapter_dtypes = (down_RI.dtype, up_OR.dtype)
        return out_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x_TI, weight_OI, down, up, middle_TR = ctx.saved_tensors
        down_dtype, up_dtype = ctx.adapter_dtypes
        g_TO = grad.flatten(0, -2).to(x_TI.dtype)
        g_TR = torch.mm(g_TO, up).mul_(ctx.scaling)
        d_up = torch.mm(g_TO.t(), middle_TR).to(up_dtype).mul_(ctx.scaling)
        d_down = torch.mm(g_TR.t(), x_TI).to(down_dtype)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = torch.mm(g_TO, weight_OI.to(x_TI.dtype)).addmm_(g_TR, down)
            d_x = d_x.to(ctx.x_dtype).view(*grad.shape[:-1], -1)
        return d_x, None, None, d_down, d_up, None
