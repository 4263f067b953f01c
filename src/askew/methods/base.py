"""What every method offers to the loop: the views read, embed sample by sample, an objective that compares samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from askew.nn.towers import Encoded, ImageTower, TwoTower

Batch = dict[str, Tensor]
Terms = dict[str, Tensor]


class MethodConfig(BaseModel, ABC):
    """Base of every method's nested Config: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def build(self, towers: TwoTower) -> "Method":
        """The method of this configuration, training these towers."""

    @property
    def needs_mask_token(self) -> bool:
        """Whether the text tower must know MASK_TOKEN."""
        return False


class Method(nn.Module, ABC):
    """A method. `embed` and `targets` work sample by sample, `objective` compares samples; both change nothing.

    Attributes:
        views: keys of the batch that it reads; only those are made.
        towers: the student, which is evaluated and released.
    """

    views: tuple[str, ...]
    towers: TwoTower

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """What a teacher says of each sample, (B, ...) without gradient; nothing by default."""
        return {}

    @abstractmethod
    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Every tensor is (B, ...), with gradient, each row a function of its own sample alone."""

    @abstractmethod
    def objective(self, mine: dict[str, Tensor], everyone: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """The loss of this rank's samples `mine` (B, ...) against `everyone`'s (N, ...), and its terms by name.

        Equal ranks average to the loss of one process. `progress` is k / T in [0, 1). Both hold `targets`, `embed` and
        `group`.
        """

    def after_step(self, everyone: dict[str, Tensor], progress: float) -> None:
        """Move what is not trained by gradient; `progress` is (k + 1) / T. By default learned scales are clamped."""
        for module in self.modules():
            clamp = getattr(module, "clamp_", None)
            if clamp is not None:
                clamp()

    @abstractmethod
    def chance(self, num_samples: int) -> dict[str, float]:
        """The value of each term, by name, of a model that knows nothing, with N samples of different groups."""

    @property
    @abstractmethod
    def logit_scale(self) -> Tensor:
        """(1,): the logarithm of the image-text scale, carried by a released model."""

    def released(self) -> dict[str, ImageTower]:
        """Image towers to save, by directory name: the student's under "model"; a teacher's under "teacher"."""
        return {"model": self.towers.image}


def same_group(mine: dict[str, Tensor], everyone: dict[str, Tensor]) -> Tensor:
    """(B, N) bool: pairs are found by groups, never by position or rank."""
    return mine["group"][:, None] == everyone["group"][None, :]


def both_views(tower: Callable[[Tensor], Encoded], image: Tensor, aug: Tensor) -> tuple[Tensor, Tensor]:
    """Unit-length embeddings (B, D) of two views in one forward: fewer, larger matrix products."""
    embed = tower(torch.cat([image, aug])).embed
    return embed[: len(image)], embed[len(image) :]


def encode_views(tower: Callable[[Tensor], Encoded], *views: Tensor) -> list[Encoded]:
    """Views of (B, ...) each in one forward, apart again: `pooled` and `embed` of each, in float32."""
    encoded = tower(torch.cat(views))
    parts = zip(encoded.pooled.float().chunk(len(views)), encoded.embed.chunk(len(views)), strict=True)
    return [Encoded(pooled, embed, None) for pooled, embed in parts]
