"""A whole source under one model, on disk: embeddings of any number of images and captions, in flat memory.

The store is made of chunks of 1,024 samples. A chunk's file is named by a sha256 of everything that decides its
content: the encoders' fingerprint, how images are decoded, and the bytes, captions, names and ids of its samples. So a
file is never stale, a killed command finds every finished chunk again, and a source that has not changed costs reading
and hashing. Ranks divide the chunks among themselves, and all read them from the same folder.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import PIL
import torch

from askew import distributed
from askew.data.containers import formats
from askew.data.files import write_text
from askew.data.images import pixel_limit
from askew.data.sources.base import Source
from askew.errors import UserError, printable, writing
from askew.evaluation.chunks import SIZE, Chunk, load_chunk, save_chunk
from askew.evaluation.features import ImageEncoder
from askew.evaluation.reading_ahead import Piece, ReadingAhead, SampleRecord, problem_of
from askew.evaluation.results import item_hash

__all__ = ["Chunk", "Embeddings"]
PROBED = 64  # samples that are compared where a source is taken to be unchanged
REMEDY = ", or name another folder with --cache DIR"


class PairEncoder(ImageEncoder, Protocol):
    """What the store needs of a model. `Encoders` provides it."""

    def text(self, texts: list[str]) -> np.ndarray:
        """Unit-length embeddings (n, D) of texts."""
        ...


class Embeddings:
    """The embeddings of a source under one model.

    Args:
        folder: where chunks are kept; several sources and models may share it.
        tick: called with (samples done, samples of this rank) after every batch, and after every chunk found.
        warn: called with a line for each chunk that was damaged and is made again.
        workers: threads that decode; 0 chooses.

    Attributes:
        readable: after `make`, the number of samples that can be used.
        problem: what is wrong with the first one that cannot; "" if there is none.
        reused: samples whose embeddings were on disk.
        data_wait: the share of this rank's time, while it encoded, in which the encoder waited for samples.
    """

    def __init__(
        self,
        source: Source,
        encoders: PairEncoder,
        folder: Path,
        tick: Callable[[int, int], None] = lambda done, total: None,
        warn: Callable[[str], None] = lambda text: None,
        workers: int = 0,
    ):
        self.source, self.encoders, self.folder, self.tick, self.warn = source, encoders, folder, tick, warn
        self.num_chunks = -(-len(source) // SIZE)
        self.readable, self.reused, self.problem = 0, 0, ""
        self._reading = ReadingAhead(source, encoders.preprocess, encoders.batch_size, workers)
        self._files: dict[int, Path] = {}
        self._waited = self._encoded = 0.0

    def __len__(self) -> int:
        return len(self.source)

    @property
    def data_wait(self) -> float:
        """See the class."""
        return self._waited / max(self._waited + self._encoded, 1e-9)

    def make(self) -> None:
        """Make the chunks that are not on disk. Every rank of a run enters, and none leaves before all are made.

        Raises:
            UserError: the source is empty, no sample can be used, embeddings are not finite, or the folder cannot be
                written to.
            RunFailed: the source raised what no bad sample can cause.
        """
        if not len(self.source):
            raise UserError(f"{printable(self.source.describe, 400)}: the source has no samples")
        self._files, self.readable, self.reused, self.problem = {}, 0, 0, ""
        distributed.together(self._make)
        found = distributed.all_gather_object((self._files, self.readable, self.reused, self.problem))
        for files, readable, reused, problem in found[: distributed.rank()] + found[distributed.rank() + 1 :]:
            self._files |= files
            self.readable, self.reused = self.readable + readable, self.reused + reused
            self.problem = self.problem or problem
        if not self.readable:
            raise UserError(f"none of the {len(self):,} samples can be used; the first: {self.problem}")

    def remember(self, called: str) -> None:
        """Write down which chunks `make` found or made, for `recall`.

        Args:
            called: what tells the source from others: where it is and how it is read.
        """
        facts = {
            "probe": self._probe(),
            "files": [self._files[number].name for number in range(self.num_chunks)],
            "readable": self.readable,
            "problem": self.problem,
        }
        file = self._list(called)
        with writing("the list of embeddings", file, REMEDY):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(facts))

    def recall(self, called: str) -> bool:
        """Take the chunks that were remembered in place of `make`. Of the source, 64 samples are read and compared.

        Returns:
            Whether that was possible. It is not if nothing was remembered, or a sample or the number of them differs.
        """
        try:
            facts = json.loads(self._list(called).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        files = [self.folder / name[:2] / name for name in facts["files"]]
        if len(files) != self.num_chunks or facts["probe"] != self._probe() or not all(map(Path.exists, files)):
            return False
        self._files, self.readable, self.problem = dict(enumerate(files)), facts["readable"], facts["problem"]
        self.reused = len(self)
        return True

    def _probe(self) -> str:
        """A hash of the number of samples, and of some of them."""
        indices = np.unique(np.linspace(0, len(self) - 1, min(PROBED, len(self))).astype(int)).tolist()
        return item_hash(str(len(self)), *(self._reading.digest(index) for index in indices))

    def _list(self, called: str) -> Path:
        name = item_hash("list", self._fingerprint, called)
        return self.folder / name[:2] / f"{name}.json"

    def chunk(self, number: int) -> Chunk:
        """The embeddings of samples 1,024 * number and following. `make` comes first.

        Raises:
            UserError: the file is gone.
        """
        file = self._files[number]
        chunk = load_chunk(file, number * SIZE)
        if chunk is None:
            raise UserError(
                f"{printable(str(file), 400)} is gone or damaged, and a moment ago it was there; leave "
                "the cache alone while it runs, and on several machines name a folder that all share with --cache DIR"
            )
        return chunk

    def chunks(self, numbers: Iterable[int] | None = None) -> Iterator[Chunk]:
        """Chunks in the order of their numbers; None: all of them."""
        return (self.chunk(number) for number in (range(self.num_chunks) if numbers is None else numbers))

    def beside(self, name: str) -> Path:
        """A file for what is derived from all chunks; another source or model has another one. `make` comes first."""
        whole = item_hash(name, *(self._files[number].name for number in range(self.num_chunks)))
        return self.folder / whole[:2] / f"{whole}-{name}"

    def _make(self) -> None:
        """This rank's chunks."""
        numbers = range(self.num_chunks)[distributed.rank() :: distributed.world_size()]
        chunks = [(n, range(n * SIZE, min((n + 1) * SIZE, len(self)))) for n in numbers]
        total = sum(len(indices) for _, indices in chunks)
        done, rows = 0, dict[int, np.ndarray | str]()
        with closing(self._reading.pieces(chunks, self._find)) as pieces:
            while True:
                started = time.perf_counter()
                piece = next(pieces, None)
                if piece is None:
                    return
                if piece.found is not None:
                    self.reused += len(piece.found)
                    self._count(piece, piece.found)
                else:
                    pixels = [future.result() for future in piece.pixels]
                    ready = time.perf_counter()
                    rows |= self._rows(piece, pixels)
                    if piece.last:
                        self._count(piece, self._save(piece, rows))
                        rows = {}
                    self._waited += ready - started
                    self._encoded += time.perf_counter() - ready
                shown = len(piece.records) if piece.last else min(len(rows), len(piece.records))
                self.tick(done + shown, total)
                done += len(piece.records) if piece.last else 0

    def _rows(self, piece: Piece, pixels: list[tuple[torch.Tensor | None, str]]) -> dict[int, np.ndarray | str]:
        """The embedding of each picture of a batch, or what is wrong with it."""
        rows: dict[int, np.ndarray | str] = {}
        decoded = []
        for record, (tensor, wrong) in zip(piece.pictures, pixels, strict=True):
            if tensor is None:
                rows[record.picture] = wrong
            else:
                decoded.append((record.picture, tensor))
        if decoded:
            _, embedding = self.encoders.features(torch.stack([tensor for _, tensor in decoded]))
            rows |= {picture: row for (picture, _), row in zip(decoded, embedding, strict=True)}
        return rows

    def _save(self, piece: Piece, rows: dict[int, np.ndarray | str]) -> Chunk:
        """Encode a chunk's captions, and write the chunk."""
        chunk = _chunk_of(piece.records, rows, self.encoders)
        file = self._file(piece.key)
        with writing("a chunk of embeddings", file, REMEDY):
            save_chunk(file, chunk)
        return chunk

    def _count(self, piece: Piece, chunk: Chunk) -> None:
        self._files[piece.number] = self._file(piece.key)
        self.readable += int(chunk.readable.sum())
        self.problem = self.problem or next(iter(chunk.problems), "")

    def _find(self, key: str, first: int) -> Chunk | None:
        """The chunk of a key, if it is on disk and whole."""
        file = self._file(key)
        chunk = load_chunk(file, first)
        if chunk is None and file.exists():
            self.warn(f"{printable(str(file), 400)} is damaged, and is made again")
        return chunk

    def _file(self, key: str) -> Path:
        name = item_hash("pairs", self._fingerprint, key)
        return self.folder / name[:2] / f"{name}.npz"

    @cached_property
    def _fingerprint(self) -> str:
        """A hash of what decides a chunk besides its samples: the encoders, and which images can be decoded how."""
        return item_hash(self.encoders.fingerprint(), str(pixel_limit().pixels), " ".join(formats()), PIL.__version__)


def _chunk_of(records: list[SampleRecord], rows: dict[int, np.ndarray | str], encoders: PairEncoder) -> Chunk:
    """A chunk from what its samples are, and the embedding of each picture or what is wrong with it.

    Raises:
        UserError: embeddings are not finite.
    """
    captions = [caption for record in records for caption in record.captions]
    text = encoders.text(captions or ["a"]).astype(np.float32)
    image = np.zeros((len(records), text.shape[1]), dtype=np.float32)
    readable = np.zeros(len(records), dtype=bool)
    problems = []
    for position, record in enumerate(records):
        row = record.problem or rows[record.picture]
        if isinstance(row, str):
            problems.append(record.problem or problem_of(record.name, row))
        else:
            image[position], readable[position] = row, True
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        raise UserError("the model's embeddings are not finite; its weights are damaged")
    first = records[0].index
    return Chunk(
        first=first,
        image=image,
        text=text[: len(captions)],
        owner=np.array([record.index for record in records for _ in record.captions], dtype=np.int64),
        ids=np.array([record.id for record in records], dtype=np.int64),
        match=np.array([-1 - r.index if r.picture < 0 else r.match for r in records], dtype=np.int64),
        picture=np.array([record.picture for record in records], dtype=np.int64),
        readable=readable,
        captions=captions,
        names=[record.name for record in records],
        problems=tuple(problems),
    )
