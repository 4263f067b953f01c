"""Embed a data set once. One pass over the images gives features for probes and embeddings for everything else.

The pass goes by shards of 1,024 images. A shard's cache file is named by a sha256 of everything that decides its
content: the encoders' fingerprint (weights, configuration, preprocessing, precision) and the keys and bytes of its
images. So a file is never stale, and a killed evaluation finds every finished shard again. Processes that write the
same file at once write the same bytes, each under a temporary name first. Ranks divide the shards among themselves and
exchange them through the cache. One process alone does not need it: where it cannot be written, features are not kept.
"""

import hashlib
import os
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from askew import distributed
from askew.data.files import replacing_file
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Images
from askew.evaluation.digests import Digest, digest_of
from askew.evaluation.preparing import preparation_of, prepared
from askew.evaluation.results import set_hash

SHARD = 1024  # images in a cache file
AHEAD = 2  # batches decoded while one is encoded
TOGETHER = 32  # images that a thread takes at a time; starting a task costs as much as preparing a small image


class ImageEncoder(Protocol):
    """What the pass needs of a model. `Encoders` provides it."""

    preprocess: Callable[[Image.Image], Tensor]
    batch_size: int

    def features(self, pixels: Tensor) -> tuple[np.ndarray | None, np.ndarray]:
        """Pooled features (n, F) or None, and unit-length embeddings (n, D), of preprocessed images."""
        ...

    def fingerprint(self) -> str:
        """A hash of everything that decides a feature, except the images."""
        ...


@dataclass(frozen=True)
class Features:
    """A model's features of the images of a set, in their order.

    Attributes:
        pooled: (n, F) before the projection; None if the model has no such layer.
        embedding: (n, D) of unit length. In both, the rows of unreadable images are zero.
        items: (n,) hash of each image's key and bytes.
        readable: (n,) False for an image that could not be read.
        problems: what was wrong with each unreadable image, with its key.
        content: sha256 of the whole set.
        pictures: (n,) hash of each image's bytes alone, "" for one that could not be read; equal for copies.
    """

    pooled: np.ndarray | None
    embedding: np.ndarray
    items: tuple[str, ...]
    readable: np.ndarray
    problems: tuple[str, ...]
    content: str
    pictures: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.embedding)

    @property
    def copies(self) -> int:
        """How many images have the same bytes as another one."""
        return sum(count for picture, count in Counter(self.pictures).items() if picture and count > 1)


class ImagePass(NamedTuple):
    """What a pass over images gives: arrays by name, with a row for each image; digests; and what was wrong."""

    arrays: dict[str, np.ndarray]
    digests: list[Digest]
    problems: list[str]


class _Batch(NamedTuple):
    shard: int  # the first image of its shard
    digests: list[Digest]
    pixels: list[Future]  # each of a list of (tensor or None, what is wrong)
    last: bool


class _Found(NamedTuple):
    shard: int
    digests: list[Digest]
    parts: dict[str, np.ndarray]


class Extractor:
    """Embeds sets of images with one model.

    Args:
        cache: the folder of cached shards; None keeps nothing between runs.
        workers: threads that read, decode and preprocess (Pillow releases Python's lock while it works); 0 chooses.
        tick: called with (images done, images in all) after every batch, and after every shard found in the cache.
        warn: called once, with a line, if the cache cannot be written.
    """

    def __init__(
        self,
        encoders: ImageEncoder,
        cache: Path | None = None,
        workers: int = 0,
        tick: Callable[[int, int], None] = lambda done, total: None,
        warn: Callable[[str], None] = lambda text: None,
    ):
        self.encoders, self.cache, self.tick, self.warn = encoders, cache, tick, warn
        self.workers = workers or min(16, (os.cpu_count() or 1) + 1)
        self.preparation = preparation_of(encoders.preprocess)
        self.reused = 0  # images whose features came from the cache
        self._writes = cache is not None
        self._fingerprint = encoders.fingerprint() if cache is not None else ""

    def share(self, images: Images) -> None:
        """Write this rank's shards to the cache, where rank 0 then finds all of them."""
        starts = range(0, len(images), SHARD)
        for _ in self._shards(images, starts[distributed.rank() :: distributed.world_size()]):
            pass

    def embed(self, images: Images) -> Features:
        """The features of every image.

        Raises:
            UserError: there are no images, none can be read, embeddings are not finite, or several ranks share the work
                and the cache cannot be written.
        """
        if not len(images):
            raise UserError("the set has no images")
        made = self.pass_over(images)
        arrays = made.arrays
        if "embedding" not in arrays:
            raise UserError(f"none of the {len(images):,} images can be read; the first: {made.problems[0]}")
        if not np.isfinite(arrays["embedding"]).all():
            raise UserError("the model's image embeddings are not finite; its weights are damaged")
        return Features(
            arrays.get("pooled"), arrays["embedding"], tuple(digest.item for digest in made.digests),
            arrays["readable"], tuple(made.problems), set_hash(digest.item for digest in made.digests),
            tuple(digest.picture for digest in made.digests),
        )  # fmt: skip

    def pass_over(self, images: Images) -> "ImagePass":
        """Every image read and encoded, in order; of none that can be read, there are no embeddings."""
        size = len(images)
        arrays: dict[str, np.ndarray] = {}
        digests: list[Digest] = []
        problems: list[str] = []
        for start, found, parts, wrong in self._shards(images, range(0, size, SHARD)):
            for name, values in parts.items():
                if name not in arrays:
                    arrays[name] = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
                arrays[name][start : start + len(values)] = values
            digests += found
            problems += wrong
        return ImagePass(arrays, digests, problems)

    def _shards(
        self, images: Images, starts: range
    ) -> Iterator[tuple[int, list[Digest], dict[str, np.ndarray], list[str]]]:
        """(first image, digests, arrays, problems) of every shard, in order. Decoding runs ahead of encoding."""
        total = sum(min(SHARD, len(images) - start) for start in starts)
        done = 0
        pool = ThreadPoolExecutor(self.workers)
        pieces, waiting = self._pieces(images, starts, pool), deque[_Batch | _Found]()
        parts: list[dict[str, np.ndarray]] = []
        wrong: list[str] = []
        try:
            while True:
                while len(waiting) <= AHEAD and (piece := next(pieces, None)) is not None:
                    waiting.append(piece)
                if not waiting:
                    return
                piece = waiting.popleft()
                if isinstance(piece, _Found):
                    self.reused += len(piece.digests)
                    done += len(piece.digests)
                    self.tick(done, total)
                    yield piece.shard, piece.digests, piece.parts, []
                    continue
                encoded, problems = self._encode(piece.pixels)
                parts.append(encoded)
                wrong += problems
                done += len(encoded["readable"])
                self.tick(done, total)
                if piece.last:
                    whole = _joined(parts)
                    if not wrong:
                        self._keep(piece.digests, whole)
                    yield piece.shard, piece.digests, whole, wrong
                    parts, wrong = [], []
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _pieces(self, images: Images, starts: range, pool: ThreadPoolExecutor) -> Iterator[_Batch | _Found]:
        """Cached shards as a whole, others as batches whose decoding has begun. Hashing runs one shard ahead."""
        hashing = deque[list[Future]]()
        for number, start in enumerate(starts):
            for later in starts[number + len(hashing) : number + 2]:
                indices = range(later, min(later + SHARD, len(images)))
                hashing.append([pool.submit(_digests, images, part) for part in _parts(indices, TOGETHER)])
            digests = [digest for future in hashing.popleft() for digest in future.result()]
            found = self._find(digests)
            if found is not None:
                yield _Found(start, digests, found)
                continue
            step = self.encoders.batch_size
            for first in range(0, len(digests), step):
                indices = range(start + first, start + min(first + step, len(digests)))
                together = min(TOGETHER, -(-len(indices) // self.workers))
                pixels = [pool.submit(prepared, images, part, self.preparation) for part in _parts(indices, together)]
                yield _Batch(start, digests, pixels, first + step >= len(digests))

    def _encode(self, pixels: list[Future]) -> tuple[dict[str, np.ndarray], list[str]]:
        """The arrays of one batch, zero for images that could not be read, and what was wrong with those."""
        made = [one for future in pixels for one in future.result()]
        readable = np.array([tensor is not None for tensor, _ in made])
        arrays: dict[str, np.ndarray] = {"readable": readable}
        if readable.any():
            pixels_read = self.preparation.batch([tensor for tensor, _ in made if tensor is not None])
            for name, values in zip(("pooled", "embedding"), self.encoders.features(pixels_read), strict=True):
                if values is not None:
                    arrays[name] = np.zeros((len(made), values.shape[1]), dtype=np.float32)
                    arrays[name][readable] = values
        return arrays, [problem for _, problem in made if problem]

    def _file(self, digests: list[Digest]) -> Path:
        assert self.cache is not None
        items = [digest.item for digest in digests]
        name = hashlib.sha256("\n".join([self._fingerprint, *items]).encode()).hexdigest()
        return self.cache / name[:2] / f"{name}.npz"

    def _find(self, digests: list[Digest]) -> dict[str, np.ndarray] | None:
        """The shard from the cache; None if it is not there, or was damaged by a crash of the machine."""
        if self.cache is None:
            return None
        try:
            with np.load(self._file(digests)) as columns:
                parts = {name: columns[name] for name in columns.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
        whole = {"embedding", "readable"} <= parts.keys() and all(len(v) == len(digests) for v in parts.values())
        return parts if whole else None

    def _keep(self, digests: list[Digest], parts: dict[str, np.ndarray]) -> None:
        """Write a shard. Once that fails, no other is written: a full or read-only disk does not stop an evaluation."""
        if not self._writes:
            return
        file = self._file(digests)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing_file(file) as temporary, temporary.open("wb") as stream:
                np.savez(stream, **parts)  # type: ignore[arg-type]
        except OSError as error:
            what = (
                f"the feature cache cannot be written to {printable(str(self.cache), 400)} ({error.strerror or error})"
            )
            remedy = "make room there, or name another folder with --cache DIR"
            if distributed.world_size() > 1:
                raise UserError(f"{what}, and several ranks share features through it; {remedy}") from error
            self._writes = False
            self.warn(f"{what}, so features are not kept for the next evaluation; {remedy}")


def _parts(indices: range, size: int) -> list[range]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _digests(images: Images, indices: range) -> list[Digest]:
    return [digest_of(images, index) for index in indices]


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The batches of a shard as one. A batch without readable images has no widths; its rows are zero."""
    widths = {name: values.shape[1] for part in parts for name, values in part.items() if name != "readable"}
    whole = {"readable": np.concatenate([part["readable"] for part in parts])}
    for name, width in widths.items():
        zeros = [np.zeros((len(part["readable"]), width), dtype=np.float32) for part in parts]
        whole[name] = np.concatenate([part.get(name, zero) for part, zero in zip(parts, zeros, strict=True)])
    return whole
