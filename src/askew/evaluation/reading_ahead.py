"""Reading ahead of an encoder: samples in the order of their source, hashed, their images decoded by threads.

One thread reads chunks ahead and hashes them, so that a chunk whose embeddings are on disk costs no decoding. Samples
are read one at a time, as sources expect. Between hashing and decoding, encoded images are kept up to a limit; of a
chunk of large images the rest is read again, which costs little beside decoding them.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from askew.data.images import decode
from askew.data.loader import not_read
from askew.data.parcel import EXHAUSTED
from askew.data.sources.base import Sample, Source, bytes_id
from askew.errors import printable
from askew.evaluation.chunks import Chunk
from askew.evaluation.results import item_hash

KEPT = 64 * 2**20  # bytes of encoded images that a chunk keeps until they are decoded
CHUNKS_AHEAD = 2  # read and hashed while one is encoded
BATCHES_AHEAD = 2  # decoded while one is encoded
Find = Callable[[str, int], Chunk | None]


@dataclass
class SampleRecord:
    """What a sample is, apart from its pixels.

    Attributes:
        digest: a hash of all that decides what is stored of it.
        problem: why it cannot be used, or "".
        id, match, picture: as in a `Chunk`; -1 if the sample cannot be read.
        encoded: the image, if it is kept until it is decoded.
    """

    index: int
    name: str
    digest: str
    problem: str = ""
    id: int = -1
    match: int = -1
    picture: int = -1
    captions: tuple[str, ...] = ()
    encoded: bytes | None = None


class Piece(NamedTuple):
    """A part of a chunk: a batch of its pictures, each once, as they are being decoded.

    Attributes:
        records: all of the chunk's.
        key: a hash of the records' digests, in order.
        found: the chunk, if it is on disk; there are no pictures then.
        pictures: the first record of each picture of the batch.
        pixels: of each, a tensor or None, and what is wrong.
        last: whether the chunk ends here.
    """

    number: int
    records: list[SampleRecord]
    key: str
    found: Chunk | None
    pictures: list[SampleRecord]
    pixels: list[Future]
    last: bool


class ReadingAhead:
    """Reads a source for one pass.

    Args:
        preprocess: what the model does with a decoded image.
        workers: threads that decode; 0 chooses.
    """

    def __init__(self, source: Source, preprocess: Callable[[Image.Image], Tensor], batch_size: int, workers: int = 0):
        self.source, self.preprocess, self.batch_size = source, preprocess, batch_size
        self.workers = workers or decoding_threads()
        self._lock = threading.Lock()  # a source may hold what it has read last, and not expect two readers

    def pieces(self, chunks: Sequence[tuple[int, range]], find: Find) -> Generator[Piece, None, None]:
        """The pieces of every chunk, in order.

        Args:
            chunks: the number of each chunk, and the indices of its samples.
            find: called by a thread, with a chunk's key and the index of its first sample.

        Raises:
            RunFailed: the source raised what no bad sample can cause.
        """
        reader, pool = ThreadPoolExecutor(1), ThreadPoolExecutor(self.workers)
        made, waiting = self._made(chunks, find, reader, pool), deque[Piece]()
        try:
            while True:
                while len(waiting) <= BATCHES_AHEAD and (piece := next(made, None)) is not None:
                    waiting.append(piece)
                if not waiting:
                    return
                yield waiting.popleft()
        finally:
            for one in (reader, pool):
                one.shutdown(wait=True, cancel_futures=True)

    def digest(self, index: int) -> str:
        """A hash of one sample, which is read."""
        return self._record(index).digest

    def _made(
        self, chunks: Sequence[tuple[int, range]], find: Find, reader: ThreadPoolExecutor, pool: ThreadPoolExecutor
    ) -> Iterator[Piece]:
        """Pieces whose decoding has begun."""
        reading = deque[Future]()
        for position, (number, _) in enumerate(chunks):
            for _, indices in chunks[position + len(reading) : position + 1 + CHUNKS_AHEAD]:
                reading.append(reader.submit(self._read, indices, find))
            records, key, found = reading.popleft().result()
            if found is not None:
                yield Piece(number, records, key, found, [], [], True)
                continue
            first = {record.picture: record for record in reversed(records) if not record.problem}
            pictures = sorted(first.values(), key=lambda record: record.index)
            for start in range(0, max(1, len(pictures)), self.batch_size):
                batch = pictures[start : start + self.batch_size]
                pixels = [pool.submit(self._prepare, record) for record in batch]
                yield Piece(number, records, key, None, batch, pixels, start + self.batch_size >= len(pictures))

    def _read(self, indices: range, find: Find) -> tuple[list[SampleRecord], str, Chunk | None]:
        """The records of a chunk, its key, and the chunk if it is on disk."""
        records, kept = [], 0
        for index in indices:
            record = self._record(index)
            kept += len(record.encoded or b"")
            if kept > KEPT:
                record.encoded = None
            records.append(record)
        key = item_hash(*(record.digest for record in records))
        found = find(key, indices.start)
        if found is not None:
            for record in records:
                record.encoded = None
        return records, key, found

    def _record(self, index: int) -> SampleRecord:
        try:
            sample = self._sample(index)
            captions = tuple(caption.encode("utf-8", "replace").decode() for caption in sample.captions)
            name = sample.name or self.source.name(index)
            picture = bytes_id(sample.image)
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise not_read(self.source, index, error) from error
            name = self.source.name(index)
            problem = problem_of(name, error.strerror or str(error))
            return SampleRecord(index, name, item_hash("unreadable", name, problem), problem)
        except Exception as error:
            raise not_read(self.source, index, error) from error
        match = picture if sample.match_id is None else sample.match_id
        digest = item_hash(str(sample.id), str(match), name, sample.image, *captions)
        if not any(caption.strip() for caption in captions):
            problem = problem_of(name, "no caption")
            return SampleRecord(index, name, digest, problem, sample.id, match, picture)
        return SampleRecord(index, name, digest, "", sample.id, match, picture, captions, sample.image)

    def _sample(self, index: int) -> Sample:
        with self._lock:
            return self.source[index]

    def _prepare(self, record: SampleRecord) -> tuple[Tensor | None, str]:
        """The preprocessed image and "", or None and what is wrong with it."""
        try:
            data = self._sample(record.index).image if record.encoded is None else record.encoded
            record.encoded = None
            return self.preprocess(decode(data)), ""
        except OSError as error:
            return None, error.strerror or str(error)


def problem_of(name: str, reason: str) -> str:
    """What is wrong with a sample, in a line that names it."""
    return printable(reason if name in reason else f"{name}: {reason}", 300)


def decoding_threads() -> int:
    """Threads that decode: as many as this process has cores, among those that share the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
