"""The order of samples in an epoch: a pure function of (seed, epoch). Any part of it can be computed directly."""

import bisect
from collections import OrderedDict
from typing import Protocol, cast

import numpy as np

from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW

ORDER = 0  # its random stream
KEPT = 2  # windows: a batch may reach from one into the next


class Expecting(Protocol):
    """A source that reads from afar, and fetches what it is told it will be asked for."""

    def expect(self, starts: np.ndarray, stops: np.ndarray, soon: int) -> None:
        """(n,) ranges of indices, in the order in which they are needed, and how many of them are needed soon."""
        ...


class Order:
    """The order of one epoch: blocks of neighbours are shuffled, then the samples inside each window.

    A source that fits into one window is shuffled completely. A larger one is still read nearly in sequence. The order
    is computed one window at a time, so that sample ten million costs as much as the first. Only two windows and one
    number per block are kept.

    Args:
        num_samples, seed, epoch: the order depends on these and on
        block, window: see Source.
    """

    def __init__(
        self, num_samples: int, seed: int, epoch: int, block: int = SHUFFLE_BLOCK, window: int = SHUFFLE_WINDOW
    ):
        self.num_samples, self.seed, self.epoch, self.block, self.window = num_samples, seed, epoch, block, window
        self._rng = np.random.default_rng([ORDER, seed, epoch])
        starts = self._rng.permutation(np.arange(0, num_samples, block))
        self._starts = starts
        sizes = np.minimum(starts + block, num_samples) - starts
        self._ends = np.cumsum(sizes)  # the position after the end of each block, in the order
        self._windows: OrderedDict[int, np.ndarray] = OrderedDict()
        self.made = 0  # number of windows computed so far
        self._announced = -1  # the window

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, position: int) -> int:
        """The index of the sample at a position, 0 <= position < num_samples."""
        if not 0 <= position < self.num_samples:
            raise IndexError(position)
        number, inside = divmod(position, self.window)
        if number not in self._windows:
            self._windows[number] = self._window(number)
            if len(self._windows) > KEPT:
                self._windows.popitem(last=False)
        return int(self._windows[number][inside])

    def announce(self, source: object, position: int) -> None:
        """Tell a source, if it listens, which samples follow: once per window, and into the next epoch.

        What this window and the next one need is needed soon.
        """
        window = position // self.window
        if window == self._announced or not hasattr(source, "expect"):
            return
        self._announced = window
        listener = cast(Expecting, source)
        first = bisect.bisect_right(self._ends, window * self.window)
        left = len(self._starts) - first
        soon = min(bisect.bisect_left(self._ends, (window + 2) * self.window) + 1 - first, left)
        if (window + 1) * self.window >= self.num_samples:
            soon = left + self.window // self.block  # the first window of the next epoch
        following = Order(self.num_samples, self.seed, self.epoch + 1, self.block, self.window)
        starts = np.concatenate([self._starts[first:], following._starts])
        listener.expect(starts, np.minimum(starts + self.block, self.num_samples), soon)

    def _window(self, number: int) -> np.ndarray:
        self.made += 1
        first, last = number * self.window, min((number + 1) * self.window, self.num_samples)
        block = bisect.bisect_right(self._ends, first)
        parts, place = [], first
        while place < last:
            begin = self._ends[block - 1] if block else 0
            end = min(self._ends[block], last)
            parts.append(np.arange(self._starts[block] + place - begin, self._starts[block] + end - begin))
            place, block = end, block + 1
        indices = np.concatenate(parts)
        one_window = self.num_samples <= self.window
        rng = self._rng if one_window else np.random.default_rng([ORDER, self.seed, self.epoch, number])
        rng.shuffle(indices)
        return indices
