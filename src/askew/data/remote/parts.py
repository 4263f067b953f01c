"""How shards are divided into parts, which are fetched as one: whole shards, or the members of neighbouring samples."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from askew.data.remote.address import RemoteShard
from askew.data.remote.cache import ShardPart

SAMPLES = 256  # of a part; the order of an epoch has blocks of 1,024 neighbours, each of which is four parts
SCATTERED = 1.5  # times a shard's size: if its parts are larger together, members are not in the order of samples
KEPT = 512  # shards whose parts are kept in memory
Spans = Callable[[int], tuple[np.ndarray, np.ndarray]]


class ShardParts:
    """The parts of all shards of a source.

    Args:
        ends: the number of samples in each shard and in those before it.
        spans: of a shard, where each of its samples begins and ends, in bytes.
        whole: whether every shard is one part.
    """

    def __init__(self, shards: Sequence[RemoteShard], ends: Sequence[int], spans: Spans, whole: bool):
        self.shards, self.whole, self._ends, self._spans = tuple(shards), whole, np.array(ends), spans
        self._made: dict[int, tuple[list[ShardPart], np.ndarray]] = {}

    def between(self, start: int, stop: int) -> Iterator[ShardPart]:
        """The parts that samples start .. stop - 1 of the source lie in, in order."""
        shard = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            first = int(self._ends[shard - 1]) // SAMPLES if shard else 0
            end = min(stop, int(self._ends[shard]))
            parts, _ = self._of(shard)
            places = range(start // SAMPLES - first, (end - 1) // SAMPLES - first + 1)
            yield from (parts if len(parts) == 1 else [parts[place] for place in places if parts[place].size])
            start, shard = end, shard + 1

    def covering(self, shard: int, position: int, stop: int) -> ShardPart:
        """A part that bytes position .. stop - 1 of a shard lie in; the whole shard if there is no smaller one."""
        parts, starts = self._of(shard)
        at = int(np.searchsorted(starts, position, side="right")) - 1
        for part in (*parts[max(at, 0) : at + 1], *parts):
            if part.start <= position and stop <= part.stop:
                return part
        return ShardPart(self.shards[shard], 0, self.shards[shard].size)

    def _of(self, shard: int) -> tuple[list[ShardPart], np.ndarray]:
        """The parts of a shard, cut where the number of a sample in the source is a multiple of SAMPLES; their starts.

        They are kept for the shards that were asked for last.
        """
        found = self._made.get(shard)
        if found is None:
            parts = self._cut(shard)
            if len(self._made) >= KEPT:
                self._made.clear()
            found = self._made[shard] = parts, np.array([part.start for part in parts])
        return found

    def _cut(self, shard: int) -> list[ShardPart]:
        whole = [ShardPart(self.shards[shard], 0, self.shards[shard].size)]
        before, end = int(self._ends[shard - 1]) if shard else 0, int(self._ends[shard])
        if self.whole or before == end:
            return whole
        begin, last = self._spans(shard)
        first = before // SAMPLES * SAMPLES
        cuts = np.arange(first, end, SAMPLES) - before
        cuts[0] = 0
        starts, stops = np.minimum.reduceat(begin, cuts), np.maximum.reduceat(last, cuts)
        stops = np.maximum(stops, starts)  # of samples that have neither an image nor a text of the kind that is read
        parts = [ShardPart(self.shards[shard], int(a), int(b)) for a, b in zip(starts, stops, strict=True)]
        return parts if sum(part.size for part in parts) <= SCATTERED * self.shards[shard].size else whole
