"""A-CLIP: Attentive Mask CLIP (Yang et al., ICCV 2023), as its code computes it.

The student sees two views of an image, and of each only the patches to which a teacher's class token attends.
"""

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.chosen import SHARE, Patches, patch_grid
from askew.methods.encode import parts_of
from askew.methods.words import WordsConfig, embed_words, with_words, words_at_chance
from askew.nn.chosen_patches import best_patches, scores_in_view
from askew.nn.heads import Head, narrowed
from askew.nn.momentum import Momentum, momentum_at
from askew.nn.similarity import Temperature
from askew.nn.towers import ImageTower, TextTower, TwoTower
from askew.objectives.contrastive import info_nce
from askew.objectives.self_supervised import negative_cosine, nt_xent

PUBLISHED_WIDTH = 768  # F of ViT-B, for which the sizes of the heads are published
KEEP = {"aug": "keep", "aug2": "keep2"}  # the student's views, and under which name the patches to keep of each are


class ACLIP(Method):
    """Two views on chosen patches are contrasted with the text and with each other, and predict the teacher's image."""

    class Config(WordsConfig):
        """Each field with its unit and origin."""

        name: Literal["aclip"] = "aclip"
        temperature: float = Field(default=0.07, gt=0)  # initial tau; A-CLIP's code
        momentum: float = Field(default=0.996, ge=0, le=1)  # m at step 0, cosine to 1; A-CLIP's code
        # Of each view, what the student sees. A-CLIP's paper: half; its README's command chooses none and shows all
        patches: Patches = "half"
        simclr_temperature: float = Field(default=0.1, gt=0)  # fixed; A-CLIP's code, --ssl-temp
        simclr_weight: float = Field(default=1.0, gt=0)  # A-CLIP's code
        # What SimCLR compares: both views, or, as in A-CLIP's code, the first view with itself; docs/deviations.md
        simclr_views: Literal["both", "first_twice"] = "both"
        byol_weight: float = Field(default=2.0, gt=0)  # A-CLIP's code
        # A-CLIP's code at F = 768; times F / 768 for a narrower tower
        head: tuple[int, int, int] = (4096, 4096, 256)  # of SimCLR
        projector: tuple[int, int] = (4096, 256)  # of BYOL, like the next
        predictor: tuple[int, int] = (4096, 256)

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "ACLIP":
            """A-CLIP on these towers."""
            return ACLIP(self, towers)

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.share, self.is_chunked = SHARE[config.patches], False  # its heads see all samples
        self.views = ("image", *KEEP, "text")
        if self.share < 1:
            self.grid = patch_grid(towers.image.trunk, "method.patches", config.patches)
            self.views += ("image_params", *(f"{view}_params" for view in KEEP))
        self.towers = towers
        self.temperature = Temperature(config.temperature)
        self.words = config.word_prediction(towers)
        width = towers.image.width
        sizes = (config.head, config.projector, config.predictor)
        head, projector, predictor = (narrowed(published, width, PUBLISHED_WIDTH) for published in sizes)
        self.head = Head([width, *head])
        self.projector = Head([width, *projector], last_bias=False)
        self.predictor = Head([projector[-1], *predictor], last_bias=False)
        self.teacher, self.teacher_projector = Momentum(towers.image), Momentum(self.projector)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The teacher's features of the image (B, F), and which patches of each view the student sees, (B, K)."""
        if self.share == 1:
            return {"teacher": self.teacher(batch["image"]).pooled.float()}
        encoded, scores = self.teacher.with_scores(batch["image"])
        targets = {"teacher": encoded.pooled.float()}
        for view, name in KEEP.items():
            of_view = scores_in_view(scores, self.grid, batch["image_params"], batch[f"{view}_params"])
            targets[name] = best_patches(of_view, self.grid, self.share, more=1)  # A-CLIP's code keeps one block more
        return targets

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image, image2, text (B, D), unit length, and aug, aug2 (B, F), the features of the same two views."""
        keep = None if self.share == 1 else torch.cat([batch[name] for name in KEEP.values()])
        aug, aug2 = parts_of(self.towers.image(torch.cat([batch[view] for view in KEEP]), keep), len(KEEP))
        text = self.towers.text(batch["text"]).embedding
        embedded = {"image": aug.embedding, "image2": aug2.embedding, "text": text}
        embedded |= {"aug": aug.pooled.float(), "aug2": aug2.pooled.float()}
        return embedded | embed_words(self.words, aug, batch["text"])

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """The mean CLIP loss of both views + 1.0 x SimCLR's + 2.0 x BYOL's."""
        config, match = self.config, matches(local, gathered)

        # CLIP: each view and the text, in both directions
        sides = (("image", "text"), ("text", "image"), ("image2", "text"), ("text", "image2"))
        losses = [info_nce(self.temperature(local[rows], gathered[columns]), match) for rows, columns in sides]
        contrast = torch.stack(losses).mean()

        # SimCLR: each view to be found from the other. The heads normalise over both views, unlike SLIP's
        student, all_students = both_views(local, gathered)  # (2B, F), (2N, F)
        projected, all_projected = self.head(student, all_students)
        (aug, aug2), (all_aug, all_aug2) = (F.normalize(p, dim=-1).chunk(2) for p in (projected, all_projected))
        if config.simclr_views == "first_twice":
            aug2, all_aug2 = aug, all_aug
        tau = config.simclr_temperature
        from_aug = nt_xent(aug @ all_aug2.T / tau, aug @ all_aug.T / tau, match)
        from_aug2 = nt_xent(aug2 @ all_aug.T / tau, aug2 @ all_aug2.T / tau, match)
        simclr = (from_aug + from_aug2) / 2

        # BYOL: each view predicts what the teacher makes of the whole image; the squared distance of unit vectors
        prediction, _ = self.predictor(*self.projector(student, all_students))
        target, _ = self.teacher_projector(local["teacher"], gathered["teacher"])
        byol = 2 + 2 * negative_cosine(prediction, torch.cat([target, target]))

        loss = contrast + config.simclr_weight * simclr + config.byol_weight * byol
        return with_words(self.words, loss, {"contrast": contrast, "simclr": simclr, "byol": byol}, local, gathered)

    def after_step(self, gathered: dict[str, Tensor], progress: float) -> None:
        """The teacher follows the student's image tower and its projector."""
        super().after_step(gathered, progress)
        momentum = momentum_at(progress, self.config.momentum)
        self.teacher.update(self.towers.image, momentum)
        self.teacher_projector.update(self.projector, momentum)

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """One correct text among N, one correct view among 2N - 1, and a prediction at a right angle to its target."""
        levels = {"contrast": math.log(num_samples), "simclr": math.log(2 * num_samples - 1), "byol": 2.0}
        return levels | words_at_chance(self.words)

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.logit_scale

    def export_towers(self) -> dict[str, tuple[ImageTower, TextTower]]:
        """The student, and the teacher's image tower beside the student's text tower."""
        image, text = self.towers.image, self.towers.text
        return {"model": (image, text), "teacher": (cast(ImageTower, self.teacher.module), text)}


def both_views(local: dict[str, Tensor], gathered: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The features of both views, one after the other: local ones and all. In one process they are one tensor."""
    everywhere, alone = torch.cat([gathered[view] for view in KEEP]), local["aug"] is gathered["aug"]
    return everywhere if alone else torch.cat([local[view] for view in KEEP]), everywhere
