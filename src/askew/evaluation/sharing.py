"""Several ranks embed one data set together. Each encodes its share, and in the end every rank has the whole.

Shares are whole batches, those that one rank alone would encode, so that the numbers do not depend on the number of
ranks. Nothing goes through the disk, unlike the shares of `askew eval`, which the feature cache keeps.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from askew import distributed
from askew.evaluation.datasets.base import Images, SomeImages
from askew.evaluation.digests import Digest
from askew.evaluation.features import SHARD, Extractor, ImagePass
from askew.evaluation.model import Encoders

Share = Callable[[Callable[[], Any]], list[Any]]  # does this rank's work, and gives what every rank's work gave


def shares(size: int, batch: int, ranks: int) -> list[list[int]]:
    """The images of each rank: every batch of a pass over `size` images goes to one rank, in turn.

    A cached shard ends with a batch, so where batches do not fill a shard evenly, whole shards go to the ranks.
    """
    unit = batch if SHARD % batch == 0 else SHARD
    units = [range(start, min(start + unit, size)) for start in range(0, size, unit)]
    return [[index for unit in units[rank::ranks] for index in unit] for rank in range(ranks)]


class SharedExtractor(Extractor):
    """An Extractor without a cache, whose pass over the images all ranks make together. Every rank enters `embed`.

    Args:
        share: see Share.
    """

    def __init__(self, encoders: Encoders, share: Share, tick: Callable[[int, int], None]):
        super().__init__(encoders, tick=tick)
        self._share = share

    def pass_over(self, images: Images) -> ImagePass:
        """As one rank alone would make it."""
        parts = shares(len(images), self.encoders.batch_size, distributed.world_size())
        own = parts[distributed.rank()]
        made = self._share(lambda: super(SharedExtractor, self).pass_over(SomeImages(images, own)) if own else None)
        return _joined(len(images), [(part, embedded) for part, embedded in zip(parts, made, strict=True) if embedded])


def _joined(size: int, made: Sequence[tuple[list[int], ImagePass]]) -> ImagePass:
    """The ranks' parts as one."""
    arrays: dict[str, np.ndarray] = {}
    digests: list[Digest] = [Digest("", "")] * size
    for indices, embedded in made:
        for name, values in embedded.arrays.items():
            if name not in arrays:
                arrays[name] = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
            arrays[name][indices] = values
        for index, digest in zip(indices, embedded.digests, strict=True):
            digests[index] = digest
    return ImagePass(arrays, digests, [problem for _, embedded in made for problem in embedded.problems])


def share_texts(encoders: Encoders, share: Share) -> None:
    """From now on, all ranks encode texts together. Every rank then enters `encoders.text`."""

    def over_ranks(starts: Sequence[int], encode: Callable[[int], np.ndarray]) -> list[np.ndarray]:
        rank, ranks = distributed.rank(), distributed.world_size()
        made = share(lambda: [encode(start) for start in starts[rank::ranks]])
        return [made[number % ranks][number // ranks] for number in range(len(starts))]

    encoders.over_batches = over_ranks
