"""Every caption as a sample of its own: an image with five captions makes five samples (`data.captions=each`)."""

from dataclasses import replace

import numpy as np

from askew.data.sources.base import Sample, Source, stable_id
from askew.data.sources.mixed import MixedSource
from askew.errors import Unusable


class EachCaption:
    """Every caption of another source as a sample, in its order.

    The samples of one image keep its match id, so that they are positives of one another. A sample that cannot be read,
    or has no caption, stays one bad sample.

    Args:
        inner: the source. How many captions its samples have is counted once; see `caption_counts`.
    """

    def __init__(self, inner: Source):
        self.inner = inner
        self.sources = (inner,)  # as a mixture has: whoever asks what this is made of finds it
        counts = np.maximum(caption_counts(inner), 1)
        self._ends = np.cumsum(counts)
        per_sample = max(1, round(len(self) / len(inner)))
        self.block = inner.block * per_sample
        self.window = inner.window * per_sample
        self.notes = tuple(inner.notes)
        self.describe = f"{inner.describe}, each of {len(self):,} captions a sample"

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        inside, number = self._locate(index)
        sample = self.inner[inside]
        if not sample.captions:
            return sample
        if number >= len(sample.captions):
            raise Unusable(
                f"{sample.name}: has {len(sample.captions)} captions now, and had {number + 1} or more when the data "
                "were opened",
                "captions changed",
            )
        return replace(sample, id=stable_id(f"{sample.id}/{number}"), captions=(sample.captions[number],))

    def name(self, index: int) -> str:
        """The name of the image, and which of its captions this is."""
        inside, number = self._locate(index)
        return f"{self.inner.name(inside)}, caption {number + 1}"

    def expect(self, starts: np.ndarray, stops: np.ndarray, soon: int) -> None:
        """Tell a source that reads from afar which of its samples are needed, in this order."""
        expect = getattr(self.inner, "expect", None)
        if expect is not None:
            inside = np.searchsorted(self._ends, starts, side="right"), np.searchsorted(self._ends, stops - 1, "right")
            expect(inside[0], inside[1] + 1, soon)

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        inside = int(np.searchsorted(self._ends, index, side="right"))
        return inside, index - (int(self._ends[inside - 1]) if inside else 0)


def with_captions(source: Source, captions: str) -> Source:
    """The source as `data.captions` reads it: `one` of its captions is drawn each time, or `each` is a sample."""
    return EachCaption(source) if captions == "each" else source


def caption_counts(source: Source) -> np.ndarray:
    """(n,) how many captions each sample has; 0 for one that cannot be read.

    Lists, tables and Parquet tell it without their images. Of other sources, every sample is read.
    """
    if isinstance(source, MixedSource):
        pairs = zip(source.sources, source.weights, strict=True)
        return np.concatenate([np.tile(caption_counts(part), weight) for part, weight in pairs])
    counted = getattr(source, "caption_counts", lambda: None)()
    if counted is not None:
        return np.asarray(counted)
    return np.array([_number(source, index) for index in range(len(source))], dtype=np.int64)


def _number(source: Source, index: int) -> int:
    try:
        return len(source[index].captions)
    except OSError:
        return 0
