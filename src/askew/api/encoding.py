"""Any number of images through an encoder: taken one by one, decoded by threads, encoded in batches, in order."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from torch import Tensor

from askew.api.inputs import ImageInput, PendingImage, named, taken
from askew.evaluation.model import Encoders
from askew.evaluation.preparing import preparation_of

AHEAD = 2  # batches decoded while one is encoded
HELD = 256 * 2**20  # bytes of images that wait for a thread


class HeldMemory:
    """A bound on the memory of images that wait for a thread; one image alone may be larger."""

    def __init__(self, limit: int = HELD):
        self.limit, self.held = limit, 0
        self._changed = threading.Condition()

    def add(self, nbytes: int) -> None:
        """Wait until there is room for so many bytes."""
        with self._changed:
            self._changed.wait_for(lambda: not self.held or self.held + nbytes <= self.limit)
            self.held += nbytes

    def remove(self, nbytes: int) -> None:
        """Give the room back."""
        with self._changed:
            self.held -= nbytes
            self._changed.notify_all()


def image_embeddings(
    encoders: Encoders, images: Iterator[ImageInput], batch_size: int, workers: int
) -> list[np.ndarray]:
    """The embeddings of images, batch by batch; an empty list if there are none.

    Images are taken in this thread, never more than AHEAD + 1 batches before they are encoded. With the batches that
    `askew eval` and `askew embed` make, these are the same numbers, bit for bit.

    Raises:
        ImageError: an image that cannot be used. What the iterator raises passes through.
    """
    preparation = preparation_of(encoders.preprocess)
    held, waiting = HeldMemory(), deque[list[Future[Tensor]]]()

    def prepare(index: int, item: ImageInput, pending: PendingImage) -> Tensor:
        try:
            with named(index, item):
                return preparation.picture(pending.rgb())
        finally:
            held.remove(pending.nbytes)

    def started(given: Iterable[tuple[int, ImageInput]], pool: ThreadPoolExecutor) -> Iterator[Future[Tensor]]:
        for index, item in given:
            with named(index, item):
                pending = taken(item)
            held.add(pending.nbytes)
            yield pool.submit(prepare, index, item, pending)

    parts: list[np.ndarray] = []
    pool = ThreadPoolExecutor(workers)
    futures = started(enumerate(images), pool)
    try:
        while True:
            while len(waiting) <= AHEAD and (batch := list(islice(futures, batch_size))):
                waiting.append(batch)
            if not waiting:
                return parts
            pixels = preparation.batch([future.result() for future in waiting.popleft()])
            parts.append(encoders.features(pixels)[1])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
