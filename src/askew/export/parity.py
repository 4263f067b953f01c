"""Does the exported model give askew's embeddings? Measured from encoded images and strings, not from tensors."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.data.sources import Source
from askew.errors import RunFailed, UserError, printable
from askew.evaluation.model import Encoders
from askew.export.target import ExportedModel

TOLERANCE = 1e-4  # largest difference of a coordinate of unit-length embeddings in float32
SEARCHED = 20  # at most so many samples are read for each one that is compared


@dataclass(frozen=True)
class ParitySamples:
    """Real samples.

    Attributes:
        images: encoded.
        texts: the first caption of each.
        described: how many of what, for messages.
    """

    images: list[bytes]
    texts: list[str]
    described: str


@dataclass(frozen=True)
class Parity:
    """The largest absolute differences between the exported model's embeddings and askew's."""

    samples: ParitySamples
    images: float
    texts: float

    @property
    def line(self) -> str:
        """Both, in words."""
        return f"largest difference {self.images:.1e} (images), {self.texts:.1e} (texts), from {self.samples.described}"


def opened(data: bytes) -> Image.Image:
    """An image as users of other libraries open one: by Pillow alone."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def first_samples(source: Source, num: int, name: str) -> ParitySamples:
    """The first `num` samples whose pixels do not depend on who decodes them.

    askew shows transparent pixels white and has rules for CMYK and 16 bits, which Pillow's `convert` has not. Such
    images and unreadable ones are passed over, and counted.

    Raises:
        UserError: there is none.
    """
    images, texts = list[bytes](), list[str]()
    unreadable = special = 0
    for index in range(min(len(source), SEARCHED * num)):
        if len(images) == num:
            break
        try:
            sample = source[index]
            pixels = decode(sample.image)
            same = np.array_equal(np.asarray(pixels), np.asarray(opened(sample.image)))
        except OSError:
            unreadable += 1
            continue
        if same:
            images.append(sample.image)
            texts.append(sample.captions[0])
        special += not same
    if not images:
        raise UserError(
            f"no sample of {printable(name, 300)} can be used for the parity check: {unreadable:,} unreadable, "
            f"{special:,} transparent or of unusual colour modes; name others with --data SOURCE"
        )
    skipped = [f"{n:,} {what}" for n, what in ((unreadable, "unreadable"), (special, "not opaque RGB")) if n]
    passed = f", passing over {' and '.join(skipped)}" if skipped else ""
    return ParitySamples(images, texts, f"the first {len(images):,} pairs of {printable(name, 300)}{passed}")


def measured(encoders: Encoders, exported: ExportedModel, samples: ParitySamples) -> Parity:
    """The largest differences.

    Raises:
        RunFailed: they are over TOLERANCE.
    """
    images = _largest(encoders.image([decode(data) for data in samples.images]), exported.images(samples.images))
    texts = _largest(encoders.text(samples.texts), exported.texts(samples.texts))
    found = Parity(samples, images, texts)
    if not (images <= TOLERANCE and texts <= TOLERANCE):  # also where a number is none
        raise RunFailed(f"the exported model does not give askew's embeddings, and nothing is written: {found.line}")
    return found


def _largest(ours: np.ndarray, theirs: Sequence[np.ndarray] | np.ndarray) -> float:
    theirs = np.asarray(theirs)
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) - theirs).max())
