"""The optimiser, and which parameters decay."""

from typing import Any

import torch
from torch import nn

from askew.config import TrainSettings


def make_optimizer(method: nn.Module, config: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over a method's trained parameters. Make it after the step was wrapped: wrapping may replace parameters."""
    return torch.optim.AdamW(
        parameter_groups(method, config.weight_decay),
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=device.type in ("cpu", "cuda"),
    )


def parameter_groups(method: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Only matrices decay: vectors, biases and norms do not (SLIP)."""
    decayed, plain = [], []
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim < 2 or any(word in name for word in ("bias", "ln_", "bn", "norm"))
            (plain if exempt else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
