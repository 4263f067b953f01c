"""Linear probe by SLIP's script main_linear.py, which the paper of MCD names in a footnote: SGD, with crops and flips.

A linear classifier is trained on frozen features for 90 epochs, without a search. Each epoch sees every training image
once, as a random crop that is mirrored half of the time, so the encoder runs 90 times over the training split. SLIP's
script keeps the best of nine evaluations on the test images; here the result is that of the last epoch, which no test
image has chosen. Settings are those of the script on one device: batches of 128, momentum 0.9, no weight decay,
learning rate 0.1 x 128 / 256 at the start, a cosine by epochs.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from askew.data.views import resized_crop_box
from askew.errors import UserError
from askew.evaluation.datasets.base import Classification, Images
from askew.evaluation.digests import digest_of
from askew.evaluation.metrics import both_accuracies
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result

SEED = 0
CROPS, INIT = 1, 2  # streams of randomness
AREA = (0.08, 1.0)  # torchvision's default for RandomResizedCrop
RESIZE = 256 / 224  # of a test image's shorter side, to the side of its centre crop
AHEAD = 2  # batches decoded while one is encoded
NAME = "linear_probe_sgd"


@dataclass(frozen=True)
class SgdSettings:
    """Those of SLIP's script."""

    epochs: int = 90
    batch_size: int = 128
    base_rate: float = 0.1
    momentum: float = 0.9
    std: float = 0.01  # of the weights at the start

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        start = self.base_rate * self.batch_size / 256
        return start * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))


Epoch = Iterable[tuple[Tensor, Tensor]]  # batches of features (b, F) and labels (b,)


def train_linear(
    epochs: Iterable[Epoch], width: int, classes: int, settings: SgdSettings, device: Any = "cpu"
) -> nn.Linear:
    """A linear classifier trained by SGD on features that are made anew in every epoch."""
    linear = nn.Linear(width, classes)
    generator = torch.Generator().manual_seed(SEED * 10 + INIT)
    with torch.no_grad():
        linear.weight.normal_(0, settings.std, generator=generator)
        linear.bias.zero_()
    linear = linear.to(device)
    optimizer = torch.optim.SGD(linear.parameters(), settings.rate(0), momentum=settings.momentum)
    for epoch, batches in enumerate(epochs):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(epoch)
        for features, labels in batches:
            loss = cross_entropy(linear(features.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return linear


@dataclass(frozen=True)
class ProbePixels:
    """How images become pixels: random crops for training, the centre for the test."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, encoders: Encoders, name: str) -> "ProbePixels":
        """Those of a model. Raises UserError for a preprocessing that is not open_clip's."""
        steps = getattr(getattr(encoders.preprocess, "inner", encoders.preprocess), "transforms", ())
        norm = next((step for step in steps if hasattr(step, "mean") and hasattr(step, "std")), None)
        size = getattr(getattr(getattr(encoders, "model", None), "visual", None), "image_size", None)
        size = size[0] if isinstance(size, tuple) else size
        if norm is None or not isinstance(size, int):
            raise UserError(f"{name}: {NAME} needs a model with open_clip's preprocessing; use linear_probe")
        return cls(size, tuple(norm.mean), tuple(norm.std))

    def cropped(self, image: Image.Image, epoch: int, index: int) -> Tensor:
        """A random crop, maybe mirrored; it depends on the epoch and the image alone."""
        rng = np.random.default_rng([SEED, CROPS, epoch, index])
        x, y, w, h = resized_crop_box(image.width, image.height, rng, AREA)
        crop = image.crop((x, y, x + w, y + h)).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return self._tensor(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop)

    def centred(self, image: Image.Image) -> Tensor:
        """The centre of a test image, whose shorter side is resized to 8/7 of it first."""
        short = round(self.size * RESIZE)
        width, height = (max(short, int(short * side / min(image.size))) for side in image.size)  # torchvision's rule
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return self._tensor(resized.crop((left, top, left + self.size, top + self.size)))

    def _tensor(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255)
        return (pixels - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


class _Encoding:
    """Features of images, read and decoded by threads while others are encoded."""

    def __init__(self, encoders: Encoders, workers: int):
        self.encoders, self.pool = encoders, ThreadPoolExecutor(workers)
        self.report: Callable[[int], None] = lambda more: None  # called with the number of images of every batch

    def batches(
        self, groups: Iterable[np.ndarray], read: Callable[[int], Tensor | None]
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """The indices of each group that can be read, and their features; a group of which none can is left out."""
        waiting = deque[tuple[np.ndarray, list[Future]]]()
        for group in groups:
            waiting.append((group, [self.pool.submit(read, int(index)) for index in group]))
            if len(waiting) > AHEAD:
                yield from self._encoded(*waiting.popleft())
        while waiting:
            yield from self._encoded(*waiting.popleft())

    def _encoded(self, group: np.ndarray, futures: list[Future]) -> Iterator[tuple[np.ndarray, Tensor]]:
        made = [future.result() for future in futures]
        whole = np.array([pixels is not None for pixels in made])
        self.report(len(group))
        if whole.any():
            pooled = self.encoders.features(torch.stack([pixels for pixels in made if pixels is not None]))[0]
            assert pooled is not None
            yield group[whole], torch.from_numpy(pooled)


class _Training:
    """The images of the training and validation splits together, and features of their crops."""

    def __init__(self, data: Classification, pixels: ProbePixels, encoding: _Encoding, settings: SgdSettings):
        parts = [part for part in (data.train, data.validation) if part is not None]
        self.labels = torch.from_numpy(np.concatenate([part.labels for part in parts])).long()
        self.where = [(part.images, index) for part in parts for index in range(len(part.labels))]
        self.pixels, self.encoding, self.settings = pixels, encoding, settings
        self.lost = set[int]()  # images that cannot be read

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of features and labels, in an order and of crops of their own."""

        def read(index: int) -> Tensor | None:
            image = _shown(*self.where[index])
            if image is None:
                self.lost.add(index)
            return None if image is None else self.pixels.cropped(image, number, index)

        size, step = len(self.labels), self.settings.batch_size
        order = np.random.default_rng([SEED, number]).permutation(size)
        for indices, features in self.encoding.batches(np.split(order, range(step, size, step)), read):
            yield features, self.labels[indices]


def _shown(images: Images, index: int) -> Image.Image | None:
    try:
        return images[index]
    except OSError:
        return None


def sgd_probe(
    encoders: Encoders,
    data: Classification,
    workers: int = 1,
    tick: Callable[[int, int], None] = lambda done, total: None,
    settings: SgdSettings = SgdSettings(),
) -> Result:
    """Accuracy on the test split after the last epoch, top-1 and mean per class, the data set's own metric first.

    Training is on the training and validation splits together, since nothing is chosen. Unreadable training images are
    left out and counted. An unreadable test image counts as wrong.

    Args:
        tick: called with (images encoded, images in all), crops counted each time.

    Raises:
        UserError: a model without features, a set without a training split, or another preprocessing than open_clip's.
    """
    if data.train is None or not encoders.layer:
        lacks = "the set has no training split" if data.train is None else "this image tower gives no features"
        raise UserError(f"{data.name}: {lacks}, which a probe needs; use --tasks zero_shot")
    pixels, tests = ProbePixels.of(encoders, data.name), len(data.test.labels)
    encoding = _Encoding(encoders, workers)
    training = _Training(data, pixels, encoding, settings)
    size = len(training.labels)
    encoding.report = partial(_report, tick, [0], settings.epochs * size + tests)

    def centred(index: int) -> Tensor | None:
        image = _shown(data.test.images, index)
        return None if image is None else pixels.centred(image)

    try:
        test = list(encoding.batches(np.split(np.arange(tests), range(256, tests, 256)), centred))
        if not test:
            raise UserError(f"{data.name}: none of the {tests:,} test images can be read")
        epochs = (training.epoch(number) for number in range(settings.epochs))
        linear = train_linear(epochs, test[0][1].shape[1], len(data.classes), settings, encoders.device)
    finally:
        encoding.pool.shutdown(wait=True, cancel_futures=True)
    if len(training.lost) == size:
        raise UserError(f"{data.name}: none of the {size:,} training images can be read")
    right = np.zeros(tests, dtype=bool)
    with torch.no_grad():
        for indices, features in test:
            found = linear(features.to(encoders.device)).argmax(dim=1).cpu().numpy()
            right[indices] = found == data.test.labels[indices]
    return _result(data, right, settings, size, len(training.lost))


def _report(tick: Callable[[int, int], None], done: list[int], total: int, more: int) -> None:
    done[0] += more
    tick(done[0], total)


def _result(data: Classification, right: np.ndarray, settings: SgdSettings, trained_on: int, lost: int) -> Result:
    labels, images = data.test.labels, data.test.images
    values = both_accuracies(right, labels, data.metric) | {"n": len(labels), "classes": len(data.classes)}
    keys = np.array([str(key) for key in images.keys])
    items = np.array([digest_of(images, index).item for index in range(len(labels))])
    outcomes = Outcomes(items, keys, {"top1": right, "mean_per_class": right}, {"mean_per_class": labels})
    protocol: dict[str, Any] = {
        "measure": data.metric,
        "classifier": "linear layer by SGD, as SLIP's main_linear.py on one device; the last epoch, not the best",
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "learning_rate": settings.rate(0),
        "momentum": settings.momentum,
        "training_views": f"crops of {AREA[0]:g} to {AREA[1]:g} of the area, mirrored half of the time",
        "test_views": "shorter side resized to 8/7 of the model's size, centre crop",
        "trained_on": trained_on - lost,
        "unreadable_training_images": lost,
    }
    return Result(f"{data.name}/{NAME}", values, protocol, outcomes)
