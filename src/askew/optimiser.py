"""What the optimiser is told: the learning rate of every step, and which parameters decay."""

import math
from typing import Any

from torch import nn

from askew.config import Train


def learning_rate_at(step: int, total: int, warmup: int, config: Train) -> float:
    """Linear from `warmup_learning_rate` to the peak over `warmup` steps, then a cosine to the minimum (SLIP)."""
    peak, low = config.learning_rate, config.min_learning_rate
    if step < warmup:
        return config.warmup_learning_rate + (peak - config.warmup_learning_rate) * step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return low + (peak - low) * (1.0 + math.cos(math.pi * progress)) / 2.0


def parameter_groups(method: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay on matrices only: not on vectors, biases or norms (SLIP)."""
    decayed, plain = [], []
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim < 2 or any(word in name for word in ("bias", "ln_", "bn", "norm"))
            (plain if exempt else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
