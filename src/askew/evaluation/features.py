"""Embed a data set once: features for probes and embeddings for everything else, from one pass over the images.

The pass goes by shards of 1,024 images. A shard's cache file is named by a sha256 of all that decides its content: the
encoders' fingerprint (weights, configuration, preprocessing, precision) and the keys and bytes of its images. So a file
is never stale, a killed evaluation finds every finished shard again, and processes that write the same file at once
write the same bytes, each under a name of its own first. Ranks share the shards out and meet in the cache.
"""

import hashlib
import os
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from askew import distributed
from askew.errors import UserError, printable
from askew.evaluation.results import item_hash, set_hash
from askew.evaluation.sets import Images

SHARD = 1024  # images in a cache file
AHEAD = 2  # batches that are decoded while one is encoded


class ImageEncoder(Protocol):
    """What the pass needs of a model; `Encoders` has it."""

    preprocess: Callable[[Image.Image], Tensor]
    batch_size: int

    def features(self, pixels: Tensor) -> tuple[np.ndarray | None, np.ndarray]:
        """Pooled features (n, F) or None, and unit-length embeddings (n, D), of preprocessed images."""
        ...

    def fingerprint(self) -> str:
        """A hash of all that decides a feature, the images apart."""
        ...


@dataclass(frozen=True)
class Features:
    """What a model makes of a set's images, in their order.

    Attributes:
        pooled: (n, F) before the projection; None where the model has no such layer.
        embed: (n, D) unit length. Rows of unreadable images are zero in both.
        items: (n,) hash of key and bytes of each image.
        readable: (n,) False where an image could not be read.
        problems: what was wrong with each unreadable image, named by its key.
        content: sha256 of the whole set.
    """

    pooled: np.ndarray | None
    embed: np.ndarray
    items: tuple[str, ...]
    readable: np.ndarray
    problems: tuple[str, ...]
    content: str

    def __len__(self) -> int:
        return len(self.embed)


class _Batch(NamedTuple):
    shard: int  # its first image
    digests: list[str]
    pixels: list[Future]  # (tensor or None, what is wrong)
    last: bool


class _Found(NamedTuple):
    shard: int
    digests: list[str]
    parts: dict[str, np.ndarray]


class Extractor:
    """Embeds sets with one model.

    Args:
        cache: folder of shards; None keeps nothing between runs.
        workers: threads that read, decode and preprocess (Pillow leaves Python's lock while it works).
        tick: told (images done, images in all) after every batch and every shard that was found.
    """

    def __init__(
        self,
        encoders: ImageEncoder,
        cache: Path | None = None,
        workers: int = 0,
        tick: Callable[[int, int], None] = lambda done, total: None,
    ):
        self.encoders, self.cache, self.tick = encoders, cache, tick
        self.workers = workers or min(16, (os.cpu_count() or 1) + 1)
        self.reused = 0  # images whose features came from the cache
        self._fingerprint = encoders.fingerprint() if cache is not None else ""

    def share(self, images: Images) -> None:
        """Fill the cache with this rank's shards; rank 0 then finds all of them."""
        starts = range(0, len(images), SHARD)
        for _ in self._shards(images, starts[distributed.rank() :: distributed.world_size()]):
            pass

    def embed(self, images: Images) -> Features:
        """Features of every image.

        Raises:
            UserError: nothing to embed, embeddings that are not finite, a cache that cannot be written.
        """
        if not len(images):
            raise UserError("the set has no images")
        size = len(images)
        arrays: dict[str, np.ndarray] = {}
        digests: list[str] = [""] * size
        problems: list[str] = []
        for start, found, parts, wrong in self._shards(images, range(0, size, SHARD)):
            for name, values in parts.items():
                if name not in arrays:
                    arrays[name] = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
                arrays[name][start : start + len(values)] = values
            digests[start : start + len(found)] = found
            problems += wrong
        if "embed" not in arrays:
            raise UserError(f"none of the {size:,} images can be read; the first: {problems[0]}")
        if not np.isfinite(arrays["embed"]).all():
            raise UserError("the model's image embeddings are not finite; its weights are broken")
        return Features(
            arrays.get("pooled"), arrays["embed"], tuple(digests), arrays["readable"], tuple(problems),
            set_hash(digests),
        )  # fmt: skip

    def _shards(
        self, images: Images, starts: range
    ) -> Iterator[tuple[int, list[str], dict[str, np.ndarray], list[str]]]:
        """(first image, digests, arrays, problems) of every shard, in order; decoding runs ahead of encoding."""
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
                encoded, broken = self._encode(piece.pixels)
                parts.append(encoded)
                wrong += broken
                done += len(piece.pixels)
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
        """Shards from the cache whole, others as batches whose decoding has begun; hashing runs a shard ahead."""
        hashing = deque[list[Future]]()
        for place, start in enumerate(starts):
            for later in starts[place + len(hashing) : place + 2]:
                indices = range(later, min(later + SHARD, len(images)))
                hashing.append([pool.submit(_identify, images, index) for index in indices])
            digests = [future.result() for future in hashing.popleft()]
            found = self._find(digests)
            if found is not None:
                yield _Found(start, digests, found)
                continue
            step = self.encoders.batch_size
            for first in range(0, len(digests), step):
                indices = range(start + first, start + min(first + step, len(digests)))
                pixels = [pool.submit(_prepare, images, index, self.encoders.preprocess) for index in indices]
                yield _Batch(start, digests, pixels, first + step >= len(digests))

    def _encode(self, pixels: list[Future]) -> tuple[dict[str, np.ndarray], list[str]]:
        """Arrays of one batch, zero where an image could not be read, and what was wrong."""
        made = [future.result() for future in pixels]
        readable = np.array([tensor is not None for tensor, _ in made])
        arrays: dict[str, np.ndarray] = {"readable": readable}
        if readable.any():
            pooled, embed = self.encoders.features(torch.stack([tensor for tensor, _ in made if tensor is not None]))
            for name, values in (("pooled", pooled), ("embed", embed)):
                if values is not None:
                    arrays[name] = np.zeros((len(made), values.shape[1]), dtype=np.float32)
                    arrays[name][readable] = values
        return arrays, [problem for _, problem in made if problem]

    def _file(self, digests: list[str]) -> Path:
        assert self.cache is not None
        name = hashlib.sha256("\n".join([self._fingerprint, *digests]).encode()).hexdigest()
        return self.cache / name[:2] / f"{name}.npz"

    def _find(self, digests: list[str]) -> dict[str, np.ndarray] | None:
        """The shard from the cache; None where there is none, or one that a crash of the machine left damaged."""
        if self.cache is None:
            return None
        try:
            with np.load(self._file(digests)) as columns:
                parts = {name: columns[name] for name in columns.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
        whole = {"embed", "readable"} <= parts.keys() and all(len(v) == len(digests) for v in parts.values())
        return parts if whole else None

    def _keep(self, digests: list[str], parts: dict[str, np.ndarray]) -> None:
        if self.cache is None:
            return
        file = self._file(digests)
        temporary = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as stream:
                temporary = Path(stream.name)
                np.savez(stream, **parts)  # type: ignore[arg-type]
            os.replace(temporary, file)
        except OSError as error:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()
            raise UserError(
                f"the feature cache cannot be written to {self.cache} ({error.strerror}); "
                "make room there, or name another folder with --cache DIR"
            ) from error


def _identify(images: Images, index: int) -> str:
    """Hash of an image's key and bytes; of the key alone where the bytes cannot be read."""
    try:
        return item_hash(images.keys[index], images.read(index))
    except OSError:
        return item_hash(images.keys[index])


def _prepare(images: Images, index: int, preprocess: Callable[[Image.Image], Tensor]) -> tuple[Tensor | None, str]:
    """The preprocessed image, or None and what is wrong with it."""
    try:
        return preprocess(images[index]), ""
    except OSError as error:
        key, reason = images.keys[index], error.strerror or str(error)
        return None, printable(reason if key in reason else f"{key}: {reason}", 300)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Batches of a shard as one; a batch without a readable image has no widths of its own and is zero."""
    widths = {name: values.shape[1] for part in parts for name, values in part.items() if name != "readable"}
    whole = {"readable": np.concatenate([part["readable"] for part in parts])}
    for name, width in widths.items():
        zeros = [np.zeros((len(part["readable"]), width), dtype=np.float32) for part in parts]
        whole[name] = np.concatenate([part.get(name, zero) for part, zero in zip(parts, zeros, strict=True)])
    return whole
