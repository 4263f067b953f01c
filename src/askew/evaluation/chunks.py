"""A chunk of embeddings: 1,024 consecutive samples of a source under one model, and its file.

A file holds nothing that depends on where the samples are in the source, so equal samples have equal files.
"""

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from askew.data.files import replacing_file

SIZE = 1024  # samples
ARRAYS = ("image", "text", "owner", "ids", "match", "picture", "readable")


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples of a source. n samples, m captions, embeddings of width D.

    A sample that cannot be read has no captions; of one whose image alone cannot be decoded, the captions are there.

    Attributes:
        first: index of the first sample in the source.
        image: (n, D) float32 of unit length; rows of images that cannot be read are zero.
        text: (m, D) float32 of unit length: every caption of every sample, in order.
        owner: (m,) index in the source of the sample that a caption belongs to.
        ids: (n,) Sample.id; -1 for a sample that cannot be read.
        match: (n,) Sample.matched: equal numbers are positives of one another. A sample that cannot be read has a
            negative number of its own.
        picture: (n,) equal for images with equal bytes; -1 for a sample that cannot be read.
        readable: (n,) whether the sample can be used: its image, and at least one caption.
        captions: m texts. names: n names of samples.
        problems: what is wrong with each sample that cannot be used, with its name.
    """

    first: int
    image: np.ndarray
    text: np.ndarray
    owner: np.ndarray
    ids: np.ndarray
    match: np.ndarray
    picture: np.ndarray
    readable: np.ndarray
    captions: list[str]
    names: list[str]
    problems: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image)

    def placed(self, first: int) -> "Chunk":
        """The same samples at another place in the source."""
        moved = first - self.first
        match = np.where(self.picture < 0, self.match - moved, self.match)
        return replace(self, first=first, owner=self.owner + moved, match=match)


def save_chunk(file: Path, chunk: Chunk) -> None:
    """Write the file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    kept = chunk.placed(0)
    words = json.dumps([kept.captions, kept.names, list(kept.problems)]).encode()
    columns = {name: getattr(kept, name) for name in ARRAYS}
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, words=np.frombuffer(words, dtype=np.uint8), **columns)


def load_chunk(file: Path, first: int = 0) -> Chunk | None:
    """The chunk in a file, which begins at sample `first`; None if it is not there, or was damaged by a crash."""
    try:
        with np.load(file) as columns:
            found = {name: columns[name] for name in columns.files}
        captions, names, problems = json.loads(found.pop("words").tobytes())
        chunk = Chunk(0, **found, captions=captions, names=names, problems=tuple(problems))
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    return chunk.placed(first)
