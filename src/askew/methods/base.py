"""The contract between a method and the loop.

A method declares which views it reads, embeds sample by sample, and has an objective that compares samples.
`askew.training.contract.check_method` tests the contract on any method.
"""

from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import MutableMapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from torch import Tensor, nn

from askew.nn.towers import ImageTower, TextTower, TwoTower

Batch = MutableMapping[str, Tensor]
Terms = dict[str, Tensor]
RESERVED = (  # names that a term of the loss may not have: the loop logs its own values under them
    *("step", "epoch", "samples", "loss", "learning_rate", "gradient_norm", "samples_per_second", "data_wait"),
    *("logit_scale", "peak_memory_mb", "skipped", "seconds", "tflops", "utilisation", "alarms"),
    *("image_rank", "text_rank", "modality_gap", "image_uniformity", "text_uniformity", "alignment"),
)


class MethodConfig(BaseModel, ABC):
    """Base of every method's nested Config. It is frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = ""  # what `method.name` selects: a name of ours, or the import path, module:Class

    @classmethod
    def __pydantic_init_subclass__(cls, **keywords: Any) -> None:
        """A Config that does not name itself is named by the import path of its method; so is one that is derived."""
        super().__pydantic_init_subclass__(**keywords)
        if "name" not in cls.__annotations__:
            path = f"{cls.__module__}:{cls.__qualname__.removesuffix('.Config')}"
            cls.__pydantic_fields__["name"] = FieldInfo(annotation=str, default=path)
            cls.model_rebuild(force=True)

    @abstractmethod
    def build(self, towers: TwoTower, identity: Sequence[float]) -> "Method":
        """The method with this configuration, which trains these towers.

        Args:
            identity: the recorded parameters (P,) of an untouched image, for methods that read `image_params` or
                another of the views of parameters.
        """

    @property
    def needs_mask_token(self) -> bool:
        """Whether the text tower needs the token MASK_TOKEN."""
        return False


class Method(nn.Module, ABC):
    """A method. `targets` and `embed` work sample by sample, `objective` compares samples. None of them changes state.

    Attributes:
        views: the batch keys that it reads. Only these are made.
        towers: the student, which is evaluated and exported.
        is_chunked: whether large batches are compared in chunks without being asked. False where `objective` computes
            something of all gathered samples, such as a head with BatchNorm, which every chunk would compute again.
    """

    views: tuple[str, ...]
    towers: TwoTower
    is_chunked = True

    def allocate(self, num_rows: int) -> None:
        """Make room for state of each sample: `row` in a batch is from 0 to num_rows - 1. By default there is none.

        Called once the training data are open. A method that is built without data, to be exported, is not asked.
        """

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The teacher's outputs for each sample, (B, ...) without gradient. By default there are none."""
        return {}

    @abstractmethod
    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Float32 tensors (B, ...) with gradient, and integers. Each row depends on its own sample only.

        `batch` also holds what `targets` has returned for these samples.

        `image` and `text` are the unit-length embeddings that are contrasted. Other names are the method's own.
        """

    @abstractmethod
    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """The loss of this rank's samples, `local` (B, ...), against those of all ranks, `gathered` (N, ...).

        Returns the loss and its terms by name, as they are logged. Both dictionaries hold what `targets` and `embed`
        return, and `match_id`. The mean over equal ranks equals the loss of one process. `progress` is k / T in [0, 1).
        """

    def after_step(self, gathered: dict[str, Tensor], progress: float) -> None:
        """Update what is not trained by gradient. `progress` is (k + 1) / T.

        By default learned scales are clamped (`clamp_`), and parts that count samples count them (`count_`).
        """
        for module in self.modules():
            clamp, count = getattr(module, "clamp_", None), getattr(module, "count_", None)
            if clamp is not None:
                clamp()
            if count is not None:
                count(gathered)

    @abstractmethod
    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """The value of each term, by name, for a model that has learned nothing, with N samples that all differ."""

    def learning_rates(self) -> dict[str, float]:
        """Parameters, by name, that do not follow the schedule: the learning rate of their next step.

        They are always the same parameters, which AdamW moves without decay. By default there are none.
        """
        return {}

    @property
    @abstractmethod
    def logit_scale(self) -> Tensor:
        """(1,): the logarithm of the image-text scale, saved in an exported model."""

    @property
    def logit_bias(self) -> Tensor | None:
        """(1,): the bias of image-text logits, saved in an exported model. None if there is none."""
        return None

    def export_towers(self) -> dict[str, tuple[ImageTower, TextTower]]:
        """The pairs of towers to save, by directory name: the student's under "model", a teacher's under "teacher"."""
        return {"model": (self.towers.image, self.towers.text)}


def with_targets(batch: Batch, targets: dict[str, Tensor]) -> Batch:
    """What `embed` reads: the batch, and the targets of the same samples."""
    return ChainMap(targets, batch)


def matches(local: dict[str, Tensor], gathered: dict[str, Tensor]) -> Tensor:
    """(B, N) bool: which samples belong together. Pairs are found by match id, never by position or rank."""
    return local["match_id"][:, None] == gathered["match_id"][None, :]
