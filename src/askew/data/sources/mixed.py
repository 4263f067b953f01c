"""Several sources as one, some of them seen more often than others."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from askew.data.sources.base import Sample, Source, stable_id


class MixedSource:
    """Sources one after the other, each as often as its weight says; the order of an epoch mixes their blocks.

    An epoch has every sample of a source `weight` times. Ids and groups are told apart by source: the same name in two
    of them is two images.

    Args:
        sources, weights: at least one; weights are whole numbers from 1.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[int]):
        self.sources, self.weights = tuple(sources), tuple(weights)
        self._ends = list(accumulate(len(s) * w for s, w in zip(sources, weights, strict=True)))
        narrowest = min(sources, key=lambda source: source.window)
        self.block, self.window = narrowest.block, narrowest.window
        self.notes = tuple(note for source in sources for note in source.notes)
        self.describe = " + ".join(
            f"{source.describe}" + (f", {weight} times an epoch" if weight > 1 else "")
            for source, weight in zip(sources, weights, strict=True)
        )

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        number, inside = self._locate(index)
        sample = self.sources[number][inside]
        key, group = stable_id(f"{number}/{sample.id}"), stable_id(f"{number}/{sample.group}")
        return Sample(key, group, sample.image, sample.captions, sample.tags, sample.name)

    def name(self, index: int) -> str:
        """As the source calls it."""
        number, inside = self._locate(index)
        return self.sources[number].name(inside)

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, (index - (self._ends[number - 1] if number else 0)) % len(self.sources[number])
