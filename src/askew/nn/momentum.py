"""The momentum teacher: a frozen deep copy that follows the student, Eq. (12)."""

import copy
import math
from typing import Any, cast

import torch
from torch import nn

from askew.nn.shards import part


def momentum_at(progress: float, start: float, end: float = 1.0) -> float:
    """The momentum m of Eq. (12) at progress k / T: from `start` at 0 to `end` at 1, along a cosine.

    m = end - (end - start) (1 + cos(pi progress)) / 2. For example, start 0.9 gives 0.9, 0.95, 1 at progress 0, 0.5, 1.
    Equal ends are a constant m.
    """
    return end - (end - start) * (1.0 + math.cos(math.pi * progress)) / 2.0


def alpha_at(progress: float, start: float = 0.0) -> float:
    """The weight alpha of Eq. (13) at progress k / T: from `start` at 0 to 1 at 1, along a cosine. Start 1 is constant.

    alpha = start + (1 - start) (1 - cos(pi progress)) / 2.
    """
    return start + (1.0 - start) * (1.0 - math.cos(math.pi * progress)) / 2.0


class Momentum(nn.Module):
    """The teacher: teacher <- m teacher + (1 - m) student after every optimiser step, Eq. (12).

    It is frozen (no gradient), always in eval mode, and deep-copied before anything is wrapped or compiled. Buffers are
    copied, not averaged.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.module = copy.deepcopy(student).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Momentum":
        """Stays in eval mode regardless of `mode`: a teacher has no dropout."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        """The teacher's output, always without gradient."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def with_scores(self, image: torch.Tensor) -> Any:
        """As `ImageTower.with_scores`, of a teacher that is an image tower."""
        return cast(Any, self.module).with_scores(image)

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Eq. (12) in place, for all parameters at once. `momentum` is m in [0, 1].

        A teacher that is sharded over ranks is sharded as its student is: each rank moves its own part.
        """
        teacher = [part(parameter) for parameter in self.module.parameters()]
        students = [part(parameter.detach()) for parameter in student.parameters()]
        assert len(teacher) == len(students), "teacher and student must have the same parameters"
        torch._foreach_lerp_(teacher, students, 1.0 - momentum)
        for buffer, of_student in zip(self.module.buffers(), student.buffers(), strict=True):
            buffer.copy_(of_student)
