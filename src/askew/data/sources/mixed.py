"""Several sources as one, some of them seen more often than others."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from askew.data.sources.base import Sample, Source, stable_id


class MixedSource:
    """Several sources, one after the other. The order of an epoch mixes their blocks.

    An epoch contains every sample of a source as many times as its weight says. Ids, and match ids that a source gives,
    include the source, so that the same name in two sources means two images.

    Args:
        sources, weights: one or more of each; weights are whole numbers, 1 or more.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[int]):
        self.sources, self.weights = tuple(sources), tuple(weights)
        self._ends = list(accumulate(len(s) * w for s, w in zip(sources, weights, strict=True)))
        narrowest = min(sources, key=lambda source: source.window)
        self.block, self.window = narrowest.block, narrowest.window
        self.notes = tuple(note for source in sources for note in source.notes)
        self.describe = " + ".join(
            f"{source.describe}" + (f", {weight} times per epoch" if weight > 1 else "")
            for source, weight in zip(sources, weights, strict=True)
        )

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        number, inside = self._locate(index)
        sample = self.sources[number][inside]
        key = stable_id(f"{number}/{sample.id}")
        match_id = None if sample.match_id is None else stable_id(f"{number}/{sample.match_id}")
        return Sample(key, match_id, sample.image, sample.captions, sample.tags, sample.name)

    def name(self, index: int) -> str:
        """The name that its source gives it."""
        number, inside = self._locate(index)
        return self.sources[number].name(inside)

    def expect(self, starts: np.ndarray, stops: np.ndarray, soon: int) -> None:
        """Tell those sources that read from afar which of their samples are needed, in the order of the mixture."""
        for source, first, weight in zip(self.sources, [0, *self._ends], self.weights, strict=False):
            expect, size = getattr(source, "expect", None), len(source)
            if expect is None:
                continue
            begin = first + size * np.arange(weight)  # of each time that an epoch sees the source
            low, high = np.maximum(starts[:, None], begin) - begin, np.minimum(stops[:, None], begin + size) - begin
            places, turn = np.nonzero(low < high)
            expect(low[places, turn], high[places, turn], soon, places)

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, (index - (self._ends[number - 1] if number else 0)) % len(self.sources[number])
