"""What every method offers to the loop: the views read, embed sample by sample, an objective that compares samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from askew.nn.heads import TokenHead
from askew.nn.similarity import IMAGE, TEXT
from askew.nn.towers import Encoded, ImageTower, TextTower, TwoTower
from askew.objectives.masked_language import NOT_MASKED, cross_entropy_per_sample
from askew.objectives.reduce import by_rows

Temperature = Annotated[float, Field(gt=0)]
Temperatures = tuple[Temperature, Temperature, Temperature]
Batch = dict[str, Tensor]
Terms = dict[str, Tensor]


class MethodConfig(BaseModel, ABC):
    """Base of every method's nested Config: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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

    @property
    def logit_bias(self) -> Tensor | None:
        """(1,): the bias of image-text logits, carried by a released model; None where there is none."""
        return None

    def released(self) -> dict[str, ImageTower]:
        """Image towers to save, by directory name: the student's under "model"; a teacher's under "teacher"."""
        return {"model": self.towers.image}


def objective_in_blocks(
    method: Method, mine: dict[str, Tensor], everyone: dict[str, Tensor], progress: float, block_rows: int
) -> tuple[Tensor, Terms]:
    """The method's objective, `block_rows` samples at a time in less memory: the same numbers; 0 takes all at once."""
    if block_rows == 0:
        return method.objective(mine, everyone, progress)

    def named(rows: dict[str, Tensor]) -> dict[str, Tensor]:
        loss, terms = method.objective(rows, everyone, progress)
        return {"": loss, **terms}

    values = by_rows(named, mine, block_rows)
    return values.pop(""), values


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


def unified(embedded: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts and augmented images as one: (3B, D), the domain of each (3B,), whether it is augmented (3B,)."""
    one = torch.ones_like(embedded["group"])
    domain, is_aug = torch.cat([IMAGE * one, TEXT * one, IMAGE * one]), torch.cat([0 * one, 0 * one, one]).bool()
    return torch.cat([embedded["image"], embedded["text"], embedded["aug"]]), domain, is_aug


def text_and_masked(tower: TextTower, head: TokenHead, batch: Batch) -> dict[str, Tensor]:
    """text (B, D), unit length, and the masked-language sum and count of each sample (B,).

    Both texts in one forward: fewer, larger products, and one gradient of the vocabulary.
    """
    encoded, size = encode_texts(tower, batch, "text", "masked_text"), len(batch["text"])
    return {"text": encoded.embed[:size], **masked_sums(head, encoded, batch)}


def encode_texts(tower: TextTower, batch: Batch, *keys: str) -> Encoded:
    """Texts of (B, L) each in one forward; tokens of "masked_text" are read where they have a label."""
    nowhere = torch.zeros_like(batch[keys[0]], dtype=torch.bool)
    read = [batch["mlm_labels"] != NOT_MASKED if key == "masked_text" else nowhere for key in keys]
    return tower(torch.cat([batch[key] for key in keys]), torch.cat(read))


def masked_sums(head: TokenHead, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
    """The masked-language sum and count of each sample (B,), of texts encoded with "masked_text" among them."""
    assert encoded.tokens is not None, "a text tower gives tokens"
    logits, labels, sample = head.masked(encoded.tokens, batch["mlm_labels"])  # (M, V)
    sums, counts = cross_entropy_per_sample(logits, labels, sample, len(batch["mlm_labels"]))
    return {"mlm_sum": sums, "mlm_count": counts}
