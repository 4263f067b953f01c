"""A pool of images and their texts, embedded: what examples are chosen from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from askew.data.images import decode
from askew.data.sources import Sample, Source, embedded_files
from askew.errors import printable
from askew.evaluation.model import Encoders

CAPTIONS = 5  # of one sample; more are left out
SIDE = 256  # pixels: images are kept no larger
REGIONS = 8  # of a source that is slow to read at random
BATCH = 64


@dataclass(frozen=True)
class ExamplePool:
    """Distinct images and distinct texts.

    Attributes:
        pictures: n images, reduced to SIDE pixels.
        texts: m texts.
        image, text: (n, D), (m, D) embeddings of unit length.
        match: (n, m) bool: whether a text belongs to an image.
        problems: what was wrong with each sample that could not be used.
    """

    pictures: tuple[Image.Image, ...]
    texts: tuple[str, ...]
    image: np.ndarray
    text: np.ndarray
    match: np.ndarray
    problems: tuple[str, ...]

    @property
    def scores(self) -> np.ndarray:
        """(n, m) cosines."""
        return self.image @ self.text.T

    def own_text(self, image: int) -> int:
        """The first text of an image."""
        return int(self.match[image].argmax())


def pool(samples: Iterable[Sample | str], encoders: Encoders) -> ExamplePool | None:
    """Decode and embed samples; samples with equal match ids are one image. None if no sample can be used.

    Args:
        samples: of a source; a string says why one could not be read.
    """
    rows: dict[int, int] = {}
    columns: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    pictures: list[Image.Image] = []
    problems: list[str] = []
    parts: list[np.ndarray] = []
    waiting: list[torch.Tensor] = []

    def encode() -> None:
        if waiting:
            parts.append(encoders.features(torch.stack(waiting))[1])
            waiting.clear()

    for sample in samples:
        if isinstance(sample, str):
            problems.append(sample)
            continue
        if sample.matched not in rows:
            try:
                image = decode(sample.image)
            except OSError as error:
                problems.append(printable(f"{sample.name or sample.id}: {error}", 300))
                continue
            rows[sample.matched] = len(pictures)
            waiting.append(encoders.preprocess(image))
            image.thumbnail((SIDE, SIDE))
            pictures.append(image)
            if len(waiting) == BATCH:
                encode()
        for caption in sample.captions[:CAPTIONS]:
            column = columns.setdefault(" ".join(caption.split()), len(columns))
            pairs.append((rows[sample.matched], column))
    encode()
    if not pictures:
        return None
    match = np.zeros((len(pictures), len(columns)), dtype=bool)
    match[tuple(zip(*pairs, strict=True))] = True
    texts = tuple(columns)
    return ExamplePool(tuple(pictures), texts, np.concatenate(parts), encoders.text(texts), match, tuple(problems))


def unseen_styles(num: int, seed: int = 0) -> list[Sample]:
    """`num` rows of the embedded data in the style that is not trained on, in a random order."""
    samples: list[Sample] = []
    for path in embedded_files():
        table = pq.read_table(path, columns=["id", "image", "caption", "cell"])
        for row in table.to_pylist():
            if row["cell"] == "unseen_style":
                samples.append(Sample(row["id"], None, row["image"], (row["caption"],), name=str(row["id"])))
    return [samples[place] for place in np.random.default_rng(seed).permutation(len(samples))[:num]]


def drawn_rows(source: Source, num: int, seed: int = 0) -> list[int]:
    """Indices of up to `num` samples of a source, in a random order.

    A source that is larger than its window is slow to read at random: the samples then come from REGIONS stretches.
    """
    rng = np.random.default_rng(seed)
    size = len(source)
    if size <= max(source.window, num):
        return rng.permutation(size)[:num].tolist()
    each = -(-num // REGIONS)
    starts = rng.choice(size // source.block, REGIONS, replace=size // source.block < REGIONS) * source.block
    near = [start + rng.permutation(min(source.block, size - start))[:each] for start in np.unique(starts)]
    return rng.permutation(np.concatenate(near))[:num].tolist()


def read(source: Source, rows: Sequence[int]) -> list[Sample | str]:
    """These samples, in this order, read in the order of the source; what is wrong in place of one that is bad."""
    found: dict[int, Sample | str] = {}
    for row in sorted(rows):
        try:
            sample = source[row]
        except OSError as error:
            found[row] = printable(f"{source.name(row)}: {error.strerror or error}", 300)
            continue
        captions = tuple(caption for caption in sample.captions if caption.strip())
        found[row] = (
            replace(sample, captions=captions) if captions else printable(f"{source.name(row)}: no caption", 300)
        )
    return [found[row] for row in rows]
