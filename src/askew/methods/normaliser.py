"""Images, texts and augmented images in one space, and their contrast with the whole data set by running means.

The running means are FastCLIP's. MP-NCE with them is ours, and docs/deviations.md says what of it is exact. A method
derives its Config from OneSpaceConfig and itself from OneSpaceMethod.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.encode import MaskedLanguageConfig, unified
from askew.nn.row_state import RowState
from askew.nn.similarity import IMAGE, TEXT, DomainSimilarity, SharedSimilarity
from askew.objectives.global_contrast import gamma_at, log_mean_negatives, log_running_mean, of_pairs

ROLES = ("image", "text", "aug")  # of a sample's embeddings, in the order of `unified`
DOMAINS = (IMAGE, TEXT, IMAGE)  # of the roles
IS_AUG = (False, False, True)
CHUNK = 1024  # samples whose pairs are in memory at once after a step
Similarity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class OneSpaceConfig(MaskedLanguageConfig):
    """Base of the Config of a method that contrasts images, texts and augmented images in one space."""

    # Negatives of Eq. (5): of the batch, or their running mean over the visits to each sample; ours, after FastCLIP
    normaliser: Literal["batch", "global"] = "batch"
    # What stands for the "1 +" of MP-NCE: 1 / M with the M negatives of a row of the batch, or of all the data
    normaliser_eps: Literal["batch", "data"] = "batch"
    gamma_min: float = Field(default=0.2, gt=0, le=1)  # share of a batch in the means, after a cosine from 1; FastCLIP
    gamma_decay: float = Field(default=0.5, gt=0, le=1)  # share of the run that the cosine takes; FastCLIP

    @property
    def row_views(self) -> tuple[str, ...]:
        """The batch keys that the running means read."""
        return ("row",) if self.normaliser == "global" else ()

    def global_normaliser(self) -> "GlobalNormaliser | None":
        """The running means. None if the contrast is with the batch alone."""
        if self.normaliser == "batch":
            return None
        return GlobalNormaliser(self.normaliser_eps == "data", self.gamma_min, self.gamma_decay)


class OneSpace(NamedTuple):
    """All embeddings of the samples of this rank against those of all ranks."""

    logits: Tensor  # (3B, 3N)
    positive: Tensor  # (3B, 3N); an anchor is its own positive
    anchor_domain: Tensor
    member_domain: Tensor
    anchor_is_aug: Tensor
    member_is_aug: Tensor


def one_space(similarity: Similarity, local: dict[str, Tensor], gathered: dict[str, Tensor]) -> OneSpace:
    """Images, texts and augmented images in one space of 3N embeddings."""
    anchors, anchor_domain, anchor_is_aug = unified(local)
    members, member_domain, member_is_aug = unified(gathered)
    logits = similarity(anchors, members, anchor_domain, member_domain)
    positive = matches(local, gathered).tile(3, 3)
    return OneSpace(logits, positive, anchor_domain, member_domain, anchor_is_aug, member_is_aug)


class GlobalNormaliser(nn.Module):
    """Nine running means of each sample: for each role of an anchor and of its positive, those of exp(s_an - s_ap).

    Args:
        of_data: whether eps is that of a batch as large as the data.
        gamma_min: share of a new batch in the means once it has fallen.
        gamma_decay: share of the run that its fall takes.
    """

    steps: Tensor

    def __init__(self, of_data: bool, gamma_min: float, gamma_decay: float):
        super().__init__()
        self.of_data, self.gamma_min, self.gamma_decay = of_data, gamma_min, gamma_decay
        self.log_u = RowState(len(ROLES) ** 2)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

    def targets(self, similarity: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """row (B,), and the parameters of the similarity that this step begins with, (B, parameters)."""
        before = torch.cat([parameter.detach() for parameter in similarity.parameters()])
        return {"row": batch["row"], "similarity": before.expand(len(batch["row"]), -1).clone()}

    def contrast(
        self,
        similarity: nn.Module,
        local: dict[str, Tensor],
        gathered: dict[str, Tensor],
        weights: Sequence[Sequence[float]],
        progress: float,
    ) -> tuple[Tensor, float]:
        """The contrast with all the data, with its gradient for embeddings and for nothing else; and gamma.

        Args:
            weights: of the pairs of roles, 3 x 3: rows are anchors, columns positives.
        """
        fixed = with_parameters(similarity, local["similarity"][0])
        space, match, num = one_space(fixed, local, gathered), matches(local, gathered), len(local["row"])
        gamma = gamma_at(progress, self.gamma_decay, self.gamma_min)
        # Held-out samples are not of the data: their rows are of another source, and mean nothing here
        never = space.logits.new_full((num, len(ROLES) ** 2), -torch.inf)
        before = self.log_u.read(local["row"]) if self.training else never
        mean = log_mean_negatives(space.logits, space.positive).view(len(ROLES), num)
        own = own_logits(fixed, local)
        log_u = running_means(mean, own, before, gamma)
        # Most samples match themselves alone: what follows is done for the matches, and for all pairs of their roles
        row, column = (match & (mean[0] > -torch.inf)[:, None]).nonzero(as_tuple=True)
        positive = space.logits.view(len(ROLES), num, len(ROLES), -1)[:, row, :, column]  # (matches, 3, 3)
        log_g = mean.T[row][:, :, None] - positive
        log_eps = -self._negatives(match).log()[row][:, None, None]
        values = of_pairs(log_g, (log_u + own)[row] - positive.detach(), log_eps)
        share = 1 / (match.sum(dim=1)[row] * own.numel())
        return (share[:, None, None] * values.new_tensor(weights) * values).sum(), gamma

    def _negatives(self, match: Tensor) -> Tensor:
        """(B,): how many negatives a row is thought to have, those of the batch or of the data; 1 if it has none."""
        if self.of_data:
            num = len(ROLES) * (len(self.log_u.values) - 1)
            return match.new_full((len(match),), max(1, num), dtype=torch.float32)
        return (len(ROLES) * (~match).sum(dim=1)).clamp(min=1).float()

    def update(self, similarity: nn.Module, gathered: dict[str, Tensor], progress: float) -> None:
        """The running means, with the embeddings and the similarity that the gradient was computed with."""
        done, rows, after = self.steps.item(), gathered["row"], []
        gamma = gamma_at(progress * done / (done + 1), self.gamma_decay, self.gamma_min)  # that of the gradient
        before = with_parameters(similarity, gathered["similarity"][0])
        for start in range(0, len(rows), CHUNK):
            local = {key: value[start : start + CHUNK] for key, value in gathered.items()}
            space = one_space(before, local, gathered)
            mean = log_mean_negatives(space.logits, space.positive).view(len(ROLES), -1)
            means = running_means(mean, own_logits(before, local), self.log_u.read(local["row"]), gamma)
            after.append(means.flatten(1))
        self.log_u.write(rows, torch.cat(after))
        self.steps += 1


class OneSpaceMethod(Method):
    """Base of a method whose contrast is in one space.

    Attributes:
        similarity: of the embeddings.
        normaliser: the running means, or None for a contrast with the batch alone.
    """

    similarity: DomainSimilarity | SharedSimilarity
    normaliser: GlobalNormaliser | None

    def allocate(self, num_rows: int) -> None:
        """Nine numbers for each sample, if its running means are kept."""
        if self.normaliser is not None:
            self.normaliser.log_u.allocate(num_rows)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """What the running means need of each sample."""
        return {} if self.normaliser is None else self.normaliser.targets(self.similarity, batch)

    def one_space(self, local: dict[str, Tensor], gathered: dict[str, Tensor]) -> OneSpace:
        """What the contrast of the batch compares. With running means only temperatures and offsets learn from it."""
        if self.normaliser is not None:
            local, gathered = ({key: value.detach() for key, value in s.items()} for s in (local, gathered))
        return one_space(self.similarity, local, gathered)

    def with_all_data(
        self,
        contrast: Tensor,
        local: dict[str, Tensor],
        gathered: dict[str, Tensor],
        weights: Sequence[Sequence[float]],
        progress: float,
    ) -> tuple[Tensor, Terms]:
        """The contrast of the batch, and what is logged: with running means, their gradient for the embeddings.

        The value stays that of the batch, which can be compared with other runs.
        """
        if self.normaliser is None:
            return contrast, {}
        value, gamma = self.normaliser.contrast(self.similarity, local, gathered, weights, progress)
        return contrast + (value - value.detach()), {"global": value, "gamma": value.new_tensor(gamma)}

    def after_step(self, gathered: dict[str, Tensor], progress: float) -> None:
        """The running means move, if they are kept."""
        super().after_step(gathered, progress)
        if self.normaliser is not None:
            self.normaliser.update(self.similarity, gathered, progress)


def running_means(mean: Tensor, own: Tensor, before: Tensor, gamma: float) -> Tensor:
    """log u (B, 3, 3) after this batch: from the means of the anchors (3, B), own logits, and log u before."""
    expanded = mean.T[:, :, None].expand_as(own)
    return log_running_mean(expanded.flatten(), own.flatten(), before.flatten(), gamma).view_as(own)


@torch.no_grad()
def own_logits(similarity: Similarity, samples: dict[str, Tensor]) -> Tensor:
    """(B, 3, 3): the logits of each sample's embeddings with one another, in the order of ROLES."""
    embeddings = torch.stack([samples[role] for role in ROLES], dim=1)  # (B, 3, D)
    domains = torch.tensor(DOMAINS, device=embeddings.device)
    return torch.vmap(lambda of_sample: similarity(of_sample, of_sample, domains, domains))(embeddings)


def with_parameters(similarity: nn.Module, values: Tensor) -> Similarity:
    """The similarity with other parameters, which are given one after the other and get no gradient."""
    named = dict(similarity.named_parameters())
    parts = values.split([parameter.numel() for parameter in named.values()])
    parameters = {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}
    return lambda *inputs: functional_call(similarity, parameters, inputs)
