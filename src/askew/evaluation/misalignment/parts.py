"""The numbers of pairs and of operations, part by part, in files: a killed inspection finds what it has done.

A file is named by a hash of all that decides its content, so it is never stale. Ranks divide the parts among
themselves, and rank 0 reads them all.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from askew import distributed
from askew.data.files import replacing_file
from askew.data.images import decode
from askew.data.sources.base import Source
from askew.data.views import Normalise
from askew.errors import writing
from askew.evaluation.chunks import SIZE, Chunk
from askew.evaluation.misalignment.draws import DrawnPairs, numbers_of, words_of
from askew.evaluation.misalignment.operations import Condition, Operator
from askew.evaluation.misalignment.pairs import PairMeasures, measure
from askew.evaluation.model import Encoders
from askew.evaluation.streaming import Embeddings

BATCH = 32  # pairs whose images go through all operations at once
Arrays = dict[str, np.ndarray]
Tick = Callable[[int, int], None]
MEASURES = tuple(field.name for field in fields(PairMeasures))
PREFIX = {"student": "", "teacher": "teacher_"}  # of columns


@dataclass
class PairParts:
    """The numbers of every pair that can be used, one part per chunk.

    Attributes:
        stores: the embeddings under each of the models (student, teacher).
        drawn: the pool, under each.
        scales: what cosines are multiplied by in the loss, for each.
        neighbours: k of the noisy-pair quantity.
        folder: where parts are kept.
    """

    stores: Mapping[str, Embeddings]
    drawn: Mapping[str, DrawnPairs]
    scales: Mapping[str, float]
    neighbours: int
    folder: Path

    def __post_init__(self) -> None:
        pools = [
            array for drawn in self.drawn.values() for array in (drawn.image, drawn.text, drawn.match, drawn.words)
        ]
        self._files: dict[int, Path] = {}  # of parts that were made or found, so that chunks are hashed only once
        self._pool_hash = _hash(pools, repr((sorted(self.scales.items()), self.neighbours)))

    @property
    def number(self) -> int:
        """How many parts there are."""
        return next(iter(self.stores.values())).num_chunks

    def make(self, tick: Tick = lambda done, total: None) -> None:
        """This rank's parts, as far as they are not there. `tick` gets samples done, and samples in all."""
        numbers = range(self.number)[distributed.rank() :: distributed.world_size()]
        size = len(next(iter(self.stores.values())))
        total = sum(min(SIZE, size - number * SIZE) for number in numbers)
        for done, number in enumerate(numbers, 1):
            self.part(number)
            tick(min(done * SIZE, total), total)

    def part(self, number: int) -> Arrays:
        """The pairs of one chunk that can be used, in order.

        `sample` and `caption` are indices into the source, `row` is the place of the caption in the chunk. The names of
        PairMeasures follow, with the prefix `teacher_` for the teacher. `nearest` is a place in the pool.
        """
        if number in self._files:
            found = _read(self._files[number])
            if found is not None:
                return found
        chunks = {weights: store.chunk(number) for weights, store in self.stores.items()}
        chunk = next(iter(chunks.values()))
        arrays = [array for one in chunks.values() for array in (one.image, one.text, one.owner, one.match)]
        key = _hash([*arrays, words_of(chunk.captions)], self._pool_hash)
        self._files[number] = self.folder / f"pairs-{number:06d}-{key}.npz"
        return _kept(self._files[number], lambda: self._measured(chunks))

    def _measured(self, chunks: Mapping[str, Chunk]) -> Arrays:
        chunk = next(iter(chunks.values()))
        rows = np.flatnonzero(chunk.readable[chunk.owner - chunk.first])
        found: Arrays = {"sample": chunk.owner[rows], "caption": numbers_of(chunk)[rows], "row": rows}
        words = words_of(chunk.captions[row] for row in rows)
        for weights, one in chunks.items():
            measures = measure(
                one.text[rows], one.image, one.owner[rows] - one.first, one.match, words,
                self.drawn[weights].pool, self.scales[weights], self.neighbours,
            )  # fmt: skip
            found |= {PREFIX[weights] + name: getattr(measures, name) for name in MEASURES}
        return found


@dataclass
class OperationParts:
    """The misalignment of some pairs under every condition, one part per BATCH of pairs.

    Attributes:
        source: where their images are.
        encoders: the models (student, teacher).
        drawn: the pairs, under each.
        conditions: operations and strengths.
        folder: where parts are kept.
    """

    source: Source
    encoders: Mapping[str, Encoders]
    drawn: Mapping[str, DrawnPairs]
    conditions: Sequence[Condition]
    folder: Path

    def __post_init__(self) -> None:
        listed = [(condition.operation, condition.strength, condition.recorded) for condition in self.conditions]
        self._settings = repr((listed, [encoders.fingerprint() for encoders in self.encoders.values()]))

    def make(self, tick: Tick = lambda done, total: None) -> None:
        """This rank's parts, as far as they are not there."""
        starts = self._starts[distributed.rank() :: distributed.world_size()]
        total = sum(min(BATCH, self._starts.stop - start) for start in starts)
        for done, start in enumerate(starts, 1):
            self._part(start)
            tick(min(done * BATCH, total), total)

    def whole(self) -> np.ndarray:
        """(models, conditions, pairs), in nats; NaN for a pair whose image could not be read again."""
        parts = [self._part(start)["misalignment"] for start in self._starts]
        return np.concatenate(parts, axis=2)

    @property
    def _starts(self) -> range:
        return range(0, len(next(iter(self.drawn.values()))), BATCH)

    def _part(self, start: int) -> Arrays:
        drawn = [one.first(start + BATCH) for one in self.drawn.values()]
        arrays = [array[start:] for one in drawn for array in (one.image, one.text, one.sample)]
        file = self.folder / f"operations-{start:06d}-{_hash(arrays, self._settings)}.npz"
        return _kept(file, lambda: {"misalignment": self._measured(start)})

    def _measured(self, start: int) -> np.ndarray:
        first = next(iter(self.drawn.values()))
        samples = first.sample[start : start + BATCH].tolist()
        found = np.full((len(self.encoders), len(self.conditions), len(samples)), np.nan, dtype=np.float32)
        images: dict[int, Image.Image] = {}
        for place, sample in enumerate(samples):
            try:
                images[place] = decode(self.source[sample].image)
            except OSError:  # it was read before, so that this is rare; the pair is left out
                continue
        if not images:
            return found
        one = next(iter(self.encoders.values()))
        normalise = Normalise(tuple(one.model.visual.image_mean), tuple(one.model.visual.image_std))
        operator = Operator(
            one.preprocess, normalise, lambda seen: [e.features(seen)[1] for e in self.encoders.values()]
        )
        places = list(images)
        text = first.text[start : start + BATCH][places]
        keys = [self.source.name(samples[place]) for place in places]
        found[:, :, places] = operator.misalignment(list(images.values()), keys, text, self.conditions)
        return found


def _hash(arrays: Iterable[np.ndarray], text: str = "") -> str:
    made = hashlib.blake2b(text.encode(), digest_size=8)
    for array in arrays:
        made.update(f"{array.shape} {array.dtype}".encode())
        made.update(array.tobytes())
    return made.hexdigest()


def _read(file: Path) -> Arrays | None:
    """What is in the file; None if it is not there, or was damaged by a crash."""
    try:
        with np.load(io.BytesIO(file.read_bytes())) as columns:
            return {name: columns[name] for name in columns.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _kept(file: Path, make: Callable[[], Arrays]) -> Arrays:
    """What is in the file, or what `make` gives, which is then written."""
    found = _read(file)
    if found is not None:
        return found
    made = make()
    with writing("a part of the inspection", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **made)  # type: ignore[arg-type]
    return made
