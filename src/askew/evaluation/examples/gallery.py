"""What augmentation does to the distance between an image and its caption, on a run's own data and views (Eq. 7).

The quantity is d(t, v') / d(t, v): the distance from a caption to an augmented view over that to the original view.
1 is harmless, more is misaligned, less is a view that fits the caption better than the original one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from askew.data.images import Picture
from askew.data.operations import Bound
from askew.data.sources import Sample
from askew.data.views import Normalise, Views
from askew.errors import printable
from askew.evaluation.model import Encoders
from askew.objectives.log_ratio import paired_log_distance

SIDE = 128  # pixels: views are kept no larger
BATCH = 16  # samples, with all of their views


@dataclass(frozen=True)
class Sight:
    """Unit-length embeddings of one model: captions and originals (n, D), and augmented views (n, k, D)."""

    text: Tensor
    original: Tensor
    views: Tensor

    def ratios(self) -> np.ndarray:
        """(n, k) d(t, v') / d(t, v) to each sample's own text."""
        num = self.views.shape[1]
        before = paired_log_distance(self.text, self.original)
        repeated = self.text.repeat_interleave(num, dim=0)
        after = paired_log_distance(repeated, self.views.flatten(0, 1)).unflatten(0, (-1, num))
        return (after - before[:, None]).exp().numpy()


@dataclass(frozen=True)
class Misaligned:
    """Samples with several augmented views each.

    Attributes:
        captions: n; the one that distances are taken to.
        match: (n,) match ids: equal for copies of an image.
        originals, views: uint8 (n, 3, s, s) and (n, k, 3, s, s), as the model sees them, reduced to SIDE pixels.
        parameters: (n, k, P) recorded numbers of the augmented views.
        operations: of the augmented views, in the order of these numbers.
        by_student, by_teacher: what the two see; None without a teacher.
        problems: what was wrong with each sample that could not be used.
    """

    captions: tuple[str, ...]
    match: np.ndarray
    originals: Tensor
    views: Tensor
    parameters: np.ndarray
    operations: tuple[Bound, ...]
    by_student: Sight
    by_teacher: Sight | None
    problems: tuple[str, ...]

    @cached_property
    def student(self) -> np.ndarray:
        """(n, k) ratios."""
        return self.by_student.ratios()

    @cached_property
    def teacher(self) -> np.ndarray | None:
        """(n, k) ratios; None without a teacher."""
        return None if self.by_teacher is None else self.by_teacher.ratios()

    @cached_property
    def distance(self) -> np.ndarray:
        """(n,) the student's d(t, v), 0 to 2."""
        return paired_log_distance(self.by_student.text, self.by_student.original).exp().numpy()


def misaligned(
    samples: Sequence[Sample | str],
    views: Views,
    student: Encoders,
    teacher: Encoders | None = None,
    num: int = 4,
    seed: int = 0,
) -> Misaligned | None:
    """Draw `num` augmented views of every sample, and embed them. None if no sample can be used.

    Args:
        samples: of a source; a string says why one could not be read.
        views: those of the run, with `image` and `aug`.
    """
    wanted = replace(views, wanted=("image", "aug"))
    operations = next(view for view in views.images if view.key == "aug").operations
    problems = [sample for sample in samples if isinstance(sample, str)]
    parts: list[dict[str, Tensor]] = []
    captions: list[str] = []
    match: list[int] = []
    waiting: list[dict[str, Tensor]] = []

    def look() -> None:
        if waiting:
            parts.append(_seen(waiting, wanted, student, teacher, num))
            waiting.clear()

    for place, sample in enumerate(samples):
        if isinstance(sample, str):
            continue
        try:
            drawn = [wanted.sample(Picture(sample.image), sample.captions, (), [seed, place, n]) for n in range(num)]
        except OSError as error:
            problems.append(printable(f"{sample.name or sample.id}: {error}", 300))
            continue
        captions.append(" ".join(sample.captions[0].split()))
        match.append(sample.matched)
        waiting.append(_together(drawn))
        if len(waiting) == BATCH:
            look()
    look()
    if not captions:
        return None
    whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return Misaligned(
        tuple(captions),
        np.array(match),
        whole["image"],
        whole["aug"],
        whole["aug_params"].numpy(),
        operations,
        _sight(whole, "student", student, captions),
        _sight(whole, "teacher", teacher, captions) if teacher is not None else None,
        tuple(problems),
    )


def _sight(whole: dict[str, Tensor], name: str, encoders: Encoders, captions: list[str]) -> Sight:
    """What one of the models sees. A teacher that was trained without a text tower was saved with the student's."""
    return Sight(torch.from_numpy(encoders.text(captions)), whole[name], whole[f"{name}_views"])


def _together(drawn: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One original view (1, ...), and all augmented views (k, ...)."""
    made = {key: drawn[0][key][None] for key in ("image", "image_params")}
    return made | {key: torch.stack([one[key] for one in drawn]) for key in ("aug", "aug_params")}


def _seen(
    samples: list[dict[str, Tensor]], views: Views, student: Encoders, teacher: Encoders | None, num: int
) -> dict[str, Tensor]:
    """Pictures, recorded numbers and embeddings of a batch of n samples."""
    batch = {key: torch.cat([sample[key] for sample in samples]) for key in samples[0]}
    batch = views.finish({key: value.to(student.device) for key, value in batch.items()})
    made = {key: _pictures(batch[key], views.normalise) for key in ("image", "aug")}
    made["aug"] = made["aug"].unflatten(0, (-1, num))
    made["aug_params"] = batch["aug_params"].cpu().unflatten(0, (-1, num))
    for name, encoders in (("student", student), ("teacher", teacher)):
        if encoders is not None:
            near, far = (torch.from_numpy(encoders.features(batch[key])[1]) for key in ("image", "aug"))
            made |= {name: near, f"{name}_views": far.unflatten(0, (-1, num))}
    return made


def _pictures(pixels: Tensor, normalise: Normalise) -> Tensor:
    """uint8 (B, 3, s, s) of normalised images, no larger than SIDE."""
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (normalise.mean, normalise.std))
    shown = pixels * std + mean
    if shown.shape[-1] > SIDE:
        shown = F.interpolate(shown, (SIDE, SIDE), mode="bilinear", antialias=True)
    return (shown.clamp(0, 1) * 255).round().to(torch.uint8).cpu().contiguous()


def spread(ratios: np.ndarray, num: int) -> list[int]:
    """Up to `num` samples from harmless to ruinous: rows of (n, k), evenly spaced in the order of their largest ratio.

    The first and the last of the order are always among them.
    """
    order = np.argsort(ratios.max(axis=1), kind="stable")
    places = np.linspace(0, len(order) - 1, min(num, len(order))).round().astype(int)
    return order[np.unique(places)].tolist()
