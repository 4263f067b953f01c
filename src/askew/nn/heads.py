"""Heads that exist only during training."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from askew.objectives.masked_language import NOT_MASKED

# Numbers of tokens in matrix products are rounded up to a multiple of this. On a CPU, oneDNN makes code for each number
# and keeps it, with memory of its own: if none returns, every step waits for new code, and a run grows (dev/LOG.md)
BUCKET = 64
WORD_ROWS = 1024  # images whose logits of all words are in memory at once


class TokenHead(nn.Linear):
    """Maps token features to vocabulary logits, for masked language modelling (Eq. (11); DeCLIP's linear head).

    Args:
        width: F, the width of the text tower.
        vocab_size: V, including the mask token.
    """

    def __init__(self, width: int, vocab_size: int):
        super().__init__(width, vocab_size)
        nn.init.normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def masked(
        self, tokens: Float[Tensor, "R F"], labels: Int[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "M V"], Int[Tensor, " M"], Int[Tensor, " M"]]:
        """Logits of the R tokens that have a label, text by text, with their labels and the sample each belongs to.

        M is R rounded up to a multiple of BUCKET. The added rows are labelled NOT_MASKED and reach neither the loss nor
        a gradient.
        """
        is_masked = labels != NOT_MASKED
        spare = -len(tokens) % BUCKET
        kept = F.pad(labels[is_masked], (0, spare), value=NOT_MASKED)
        sample = F.pad(is_masked.nonzero()[:, 0], (0, spare))
        return self(F.pad(tokens, (0, 0, 0, spare))), kept, sample

    def forward(self, features: Float[Tensor, "M F"]) -> Float[Tensor, "M V"]:
        """Logits over the vocabulary for M masked positions."""
        return super().forward(features)


class WordHead(nn.Module):
    """Predicts from an image which words its caption has: a LayerNorm and a linear map (SuperCLIP's head).

    The released code starts from a standard deviation of F^-0.5. From 0.02, the first loss is near that at chance.

    Args:
        width: F, the width of the image features.
        vocab_size: V.
    """

    def __init__(self, width: int, vocab_size: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, vocab_size)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, features: Float[Tensor, "B F"], words: Int[Tensor, "B L"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B L"]]:
        """The logsumexp of each sample's V logits, and its logits of `words`; negative ids give that of id 0.

        Of more than WORD_ROWS samples, the logits are computed in parts, and again in the backward pass: for 4,096
        samples and 49,408 words all of them would take 0.8 GB, and as much for the gradient.
        """
        if len(features) <= WORD_ROWS:
            return self._part(features, words)
        pairs = zip(features.split(WORD_ROWS), words.split(WORD_ROWS), strict=True)
        parts = [checkpoint(self._part, *pair, use_reentrant=False, preserve_rng_state=False) for pair in pairs]
        return torch.cat([total for total, _ in parts]), torch.cat([logits for _, logits in parts])

    def _part(self, features: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.linear(self.norm(features))  # (B, V)
        return TotalAndSome.apply(logits, words.clamp(min=0))  # type: ignore[return-value]


class TotalAndSome(torch.autograd.Function):
    """The logsumexp (B,) of logits (B, V), and those at some columns (B, L), both in float32.

    Its gradient is made in one place. PyTorch's own makes one of V columns for each of the two, and adds them up.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Columns are ids from 0 to V - 1."""
        total = logits.float().logsumexp(dim=1)
        ctx.save_for_backward(logits, total, columns)
        return total, logits.gather(1, columns).float()

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, of_some: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """The gradient of the logits, in their type."""
        logits, total, columns = ctx.saved_tensors
        gradient = torch.sub(logits, total[:, None]).exp_().mul_(of_total[:, None])  # float32
        return gradient.scatter_add_(1, columns, of_some).to(logits.dtype), None


class Head(nn.Module):
    """Linear maps with BatchNorm and ReLU between them: the projectors and predictors of SimCLR and SimSiam.

    BatchNorm uses the statistics of the gathered samples, so a sample's value is the same on any number of ranks.
    Nothing is tracked, because the head is dropped after training. Call it in `objective`, where the gathered samples
    are known. Biases that the following BatchNorm would remove are left out, since they would never move.

    Args:
        widths: of the input, the hidden layers and the output.
        last_norm: whether a BatchNorm follows the last map (SimSiam's projector). It learns only a scale.
        last_bias: whether the last map has a bias, unless a BatchNorm follows it (A-CLIP's BYOL heads have none).
    """

    def __init__(self, widths: Sequence[int], last_norm: bool = False, last_bias: bool = True):
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.linear = nn.ModuleList(
            nn.Linear(before, after, bias=k == len(pairs) - 1 and last_bias and not last_norm)
            for k, (before, after) in enumerate(pairs)
        )
        self.norm = nn.ModuleList(GlobalBatchNorm(width) for width in widths[1:-1])
        self.last_norm = GlobalBatchNorm(widths[-1], shift=False) if last_norm else nn.Identity()

    def forward(
        self, local: Float[Tensor, "B F"], gathered: Float[Tensor, "N F"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "N D"]]:
        """The local and the gathered samples, float32. In one process they are one tensor, computed once."""
        alone = local is gathered
        rows = gathered if alone else torch.cat([gathered, local])
        num = len(gathered)
        for linear, norm in zip(self.linear, self.norm, strict=False):
            rows = norm(linear(rows), num).relu()
        rows = self.linear[-1](rows)
        rows = self.last_norm(rows, num) if isinstance(self.last_norm, GlobalBatchNorm) else rows
        return (rows, rows) if alone else (rows[num:], rows[:num])


class GlobalBatchNorm(nn.Module):
    """BatchNorm with the statistics of the first `num` rows, applied to all rows.

    It uses training statistics only. Epsilon and initial values are PyTorch's.
    """

    def __init__(self, width: int, shift: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if shift else None

    def forward(self, rows: Float[Tensor, "R F"], num: int) -> Float[Tensor, "R F"]:
        """Each column with mean 0 and variance 1 over the first `num` rows, then scaled and shifted."""
        variance, mean = torch.var_mean(rows[:num], dim=0, correction=0)
        normed = (rows - mean) * (variance + 1e-5).rsqrt() * self.weight
        return normed if self.bias is None else normed + self.bias


def narrowed(sizes: Sequence[int], width: int, published_width: int) -> list[int]:
    """A published head's sizes, times width / published_width if the tower is narrower than the published one."""
    return [max(1, round(size * min(1.0, width / published_width))) for size in sizes]


class AugmentationBlock(nn.Module):
    """h + G(a) * MLP(LN(h)), where a is the deviation from an untouched image. G has no bias, so G(0) = 0.

    Args:
        width: D, the width of h and of the hidden layers.
        num_parameters: P, the length of a.
    """

    def __init__(self, width: int, num_parameters: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(num_parameters, width, bias=False), nn.GELU(), nn.Linear(width, width, bias=False)
        )
        last = nn.Linear(width, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)

    def forward(self, hidden: Float[Tensor, "B D"], deviation: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """The next h."""
        return hidden + self.gate(deviation) * self.mlp(hidden)


class AugmentationHead(nn.Module):
    """UniCLIP's augmentation-aware image head: residual blocks after the linear projection to the joint space.

    For an untouched image, the head is the projection alone, bit for bit and with any weights. An exported model
    therefore needs no part of it (docs/deviations.md). At the start it is the projection alone for every augmentation.

    Args:
        width: D of the joint space.
        identity: the P recorded parameters of an untouched image.
        num_blocks: three in the paper.
    """

    def __init__(self, width: int, identity: Sequence[float], num_blocks: int = 3):
        super().__init__()
        self.register_buffer("identity", torch.tensor(identity, dtype=torch.float32), persistent=False)
        self.blocks = nn.ModuleList(AugmentationBlock(width, len(identity)) for _ in range(num_blocks))

    def forward(self, projected: Float[Tensor, "B D"], parameters: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """The embedding before normalisation, from projected images and their augmentation parameters."""
        deviation = parameters - self.get_buffer("identity")
        for block in self.blocks:
            projected = block(projected, deviation)
        return projected
